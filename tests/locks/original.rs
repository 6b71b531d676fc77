//! Each exchange that the original's protocol documents, byte for byte.

use crate::client::Client;
use crate::start;
use crate::support::wait;

#[test]
fn every_exchange_of_the_original() {
    let locks = start(2, "");
    let [mut one, mut two, mut three] = [(); 3].map(|()| Client::connect(locks.address));
    // acquire: RUN for the first, FAILED for who does not wait.
    one.exchange(b"acquire job\n", b"RUN job\n");
    two.exchange(b"acquire job\n", b"FAILED job\n");
    one.exchange(b"acquire job\n", b"FAILED job\n");
    // acquireWait: WAIT, then the outcome; the holder is told too.
    two.exchange(b"acquireWait job\n", b"WAIT job\n");
    three.exchange(b"acquireWait job\r\n", b"WAIT job\n");
    one.exchange(b"done job\n", b"DONE job\n");
    two.expect(b"DONE job\n");
    three.expect(b"DONE job\n");
    // It is free, and nobody inherited it.
    three.exchange(b"acquireWait job\n", b"RUN job\n");
    two.exchange(b"acquireWait job\n", b"WAIT job\n");
    three.exchange(b"failed job\n", b"FAILED job\n");
    two.expect(b"FAILED job\n");
    // Only the holder ends a job; others are told nothing.
    one.exchange(b"acquire job\n", b"RUN job\n");
    two.exchange(b"done job\nfailed job\nacquire other\n", b"RUN other\n");
    // A holder that disconnects has failed, a waiter just leaves.
    two.exchange(b"acquireWait job\n", b"WAIT job\n");
    three.exchange(b"acquireWait job\n", b"WAIT job\n");
    drop(three);
    one.send(b"quit\n");
    one.expect_end();
    two.expect(b"FAILED job\n");
    // The rest of the line is the name; empty lines say nothing; everything else is an error.
    two.exchange(b"\n\r\nacquire a name with spaces \xe4\n", b"RUN a name with spaces \xe4\n");
    two.exchange(b"hullo\nacquire\n0\n", b"PROTOCOL_ERROR\nPROTOCOL_ERROR\nPROTOCOL_ERROR\n");
    let long = [b"acquire ".as_slice(), &[b'x'; 256], b"\n"].concat();
    two.exchange(&long, b"PROTOCOL_ERROR\n");
    two.exchange(&[&[b'y'; 5000][..], b"\nacquire z\n"].concat(), b"PROTOCOL_ERROR\nRUN z\n");
    // The interrupts of telnet close, and a holder has failed.
    let mut four = Client::connect(locks.address);
    four.exchange(b"acquireWait z\n", b"WAIT z\n");
    two.send(b"\xff\xf4\xff\xfd\x06");
    two.expect_end();
    four.expect(b"FAILED z\n");
    four.send(b"acq\xff\xec");
    four.expect_end();
}

#[test]
fn a_job_outlives_the_hub_and_fails_with_its_worker() {
    let locks = start(2, "");
    let mut holder = Client::connect(locks.address);
    let mut waiter = Client::connect(locks.address);
    holder.exchange(b"acquire job\n", b"RUN job\n");
    waiter.exchange(b"acquireWait job\n", b"WAIT job\n");
    let hub = locks.skep.status().hub.expect("a hub").pid;
    crate::support::server::send(hub, nix::sys::signal::Signal::SIGKILL);
    let mut other = Client::connect(locks.address);
    // The first to be asked of the new hub.
    other.exchange(b"acquire job\n", b"FAILED job\n");
    assert_ne!(locks.skep.status().hub.expect("another hub").pid, hub);
    other.exchange(b"acquireWait job\n", b"WAIT job\n");
    holder.exchange(b"done job\n", b"DONE job\n");
    waiter.expect(b"DONE job\n");
    other.expect(b"DONE job\n");
    // Every worker dies: who is told nothing sees the end of its connection.
    holder.exchange(b"acquire job\n", b"RUN job\n");
    for worker in locks.skep.status().workers {
        crate::support::server::send(worker.pid, nix::sys::signal::Signal::SIGKILL);
    }
    holder.expect_end();
    wait::until("the job to be free", || {
        let mut late = Client::connect(locks.address);
        late.send(b"acquire job\n");
        late.line() == b"RUN job\n"
    });
}

#[test]
fn a_reload_waits_for_jobs_and_closes_idle_connections() {
    let locks = start(1, "");
    let mut idle = Client::connect(locks.address);
    let mut holder = Client::connect(locks.address);
    let mut waiter = Client::connect(locks.address);
    idle.exchange(b"acquire x\ndone x\n", b"RUN x\nDONE x\n");
    holder.exchange(b"acquire job\n", b"RUN job\n");
    waiter.exchange(b"acquireWait job\n", b"WAIT job\n");
    locks.skep.order("reload");
    idle.expect_end();
    let mut fresh = Client::connect(locks.address);
    fresh.exchange(b"acquireWait job\n", b"WAIT job\n");
    holder.exchange(b"done job\n", b"DONE job\n");
    for client in [&mut waiter, &mut fresh] {
        client.expect(b"DONE job\n");
    }
    holder.expect_end();
    waiter.expect_end();
    fresh.exchange(b"acquire job\n", b"RUN job\n");
}
