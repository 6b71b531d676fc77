//! Programs and workers that are killed in the middle of requests, under load: who asked them hears of it at once, nobody else notices, and nothing is left.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, Scope, ScopedJoinHandle};

use nix::sys::signal::Signal;

use crate::exchange::{Announced, Asked, Exchange};
use crate::served::{Served, Way, children};
use crate::support::client::Reply;
use crate::support::server::{descriptors, is_gone, send};
use crate::support::wait;

/// Clients that ask on and on, each by a connection of its own, until they are told to stop; what each got.
struct Load<'scope> {
    stop: &'scope AtomicBool,
    clients: Vec<ScopedJoinHandle<'scope, Vec<io::Result<Reply>>>>,
}

impl<'scope> Load<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, served: &'scope Served, target: &'static str, stop: &'scope AtomicBool) -> Self {
        let ask = move || {
            let mut got = Vec::new();
            while !stop.load(SeqCst) {
                got.push(served.try_get(target));
            }
            got
        };
        Self { stop, clients: (0..4).map(|_| scope.spawn(ask)).collect() }
    }

    fn stop(mut self) -> Vec<io::Result<Reply>> {
        self.stop.store(true, SeqCst);
        let clients = std::mem::take(&mut self.clients);
        clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

impl Drop for Load<'_> {
    /// They would go on for ever after a case that has failed.
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

/// Begins a request to a program that waits, and gives the program's process.
fn waiting(served: &Served) -> (Box<dyn Exchange>, i32) {
    let before = served.programs().len();
    let exchange = served.open(Asked { method: "GET", target: "/cgi/waits.pl", fields: &[], body: Announced::None });
    wait::until("the program to run", || served.programs().len() > before);
    (exchange, served.programs()[before])
}

/// Kills programs that are being waited for, while others are run.
fn killed_programs(way: Way) {
    let served = Served::start(way);
    let worker = served.worker();
    let before = descriptors(worker);
    let stop = AtomicBool::new(false);
    let got = thread::scope(|scope| {
        let load = Load::start(scope, &served, "/cgi/status.pl?200", &stop);
        for _ in 0..8 {
            let (mut exchange, pid) = waiting(&served);
            send(pid, Signal::SIGKILL);
            let reply = crate::exchange::read(&mut *exchange).expect("a reply");
            assert_eq!(reply.status, 502, "{}", reply.text());
            assert!(is_gone(pid));
        }
        load.stop()
    });
    assert!(got.len() > 20, "{}", got.len());
    for reply in got {
        let reply = reply.expect("a reply");
        assert_eq!((reply.status, reply.text().as_str()), (200, "as asked"));
    }
    assert_eq!(served.worker(), worker);
    // A front keeps connections for whom it asks next.
    let kept = if way.is_fastcgi() { 16 } else { 0 };
    wait::until("the descriptors to be closed", || descriptors(worker) <= before + kept);
    served.is_left_clean();
}

#[test]
fn a_killed_program_costs_its_own_client_only() {
    killed_programs(Way::Http1);
}

#[test]
fn and_so_it_does_behind_a_front_that_multiplexes() {
    killed_programs(Way::Multiplexed);
}

#[test]
fn an_answer_that_breaks_off_leaves_others_of_its_connection_alone() {
    let served = Served::start(Way::Multiplexed);
    let open = |target| served.open(Asked { method: "GET", target, fields: &[], body: Announced::None });
    let mut beside = open("/lines?key=beside");
    assert_eq!(beside.head().expect("a head").status, 200);
    let connections = || served.skep.status().workers.iter().map(|worker| (worker.accepts, worker.connections)).collect::<Vec<_>>();
    let before = connections();
    // The front has no way to tell its client (docs/fastcgi.md).
    let broken = crate::exchange::read(&mut *open("/broken")).expect("an answer");
    assert_eq!(broken.body.len(), 4000);
    assert_eq!(served.get("/reply?body=on").text(), "on");
    assert_eq!(connections(), before, "the front shares its connection");
    served.wake("beside");
    let mut seen = Vec::new();
    while let Some(piece) = beside.piece().expect("a piece") {
        seen.extend(piece);
    }
    assert_eq!(seen, b"line 1\nline 2\n");
    assert_eq!(served.remembered("beside"), "done");
}

/// Kills one worker of two, with an upload, a program and an answer under way in both.
fn killed_worker(way: Way) {
    let served = Served::with_workers(way, 2);
    let status = served.skep.settled(2);
    let workers: Vec<i32> = status.workers.iter().map(|worker| worker.pid).collect();
    let master = served.skep.master();
    let hub = status.hub.expect("a hub").pid;
    let before: Vec<(i32, usize)> = workers.iter().copied().chain([master, hub]).map(|pid| (pid, descriptors(pid))).collect();
    let fields = [("content-type", "multipart/form-data; boundary=limit")];
    let begin = |method, target, fields, body| served.open(Asked { method, target, fields, body });
    let mut uploads: Vec<_> = (0..8).map(|_| begin("POST", "/echo", &fields[..], Announced::Length(10_000_000))).collect();
    for exchange in &mut uploads {
        exchange.send(b"--limit\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n").expect("sent");
        exchange.send(&vec![b'x'; 200_000]).expect("sent");
    }
    wait::until("temporary files", || served.uploads() == 8);
    let programs: Vec<_> = (0..8).map(|_| waiting(&served).0).collect();
    let victim = workers.iter().copied().find(|&worker| !children(worker).is_empty()).expect("a worker with programs");
    let other = workers.iter().copied().find(|&worker| worker != victim).expect("two workers");
    let (lost, kept) = (children(victim).len(), children(other).len());
    let stop = AtomicBool::new(false);
    let got = thread::scope(|scope| {
        let load = Load::start(scope, &served, "/reply?body=right", &stop);
        send(victim, Signal::SIGKILL);
        wait::until("another worker", || {
            let now = served.skep.status().workers;
            now.len() == 2 && now.iter().all(|worker| worker.pid != victim)
        });
        load.stop()
    });
    // At most what each client had under way at that moment; a front says 502 or 503 to that, or ends as the connection did.
    let wrong: Vec<_> = got.iter().filter(|reply| !reply.as_ref().is_ok_and(|reply| reply.status == 200)).collect();
    assert!(wrong.len() <= 8, "{wrong:?}");
    assert!(wrong.iter().all(|reply| reply.as_ref().map_or(true, |reply| matches!(reply.status, 502 | 503))), "{wrong:?}");
    wait::until("the other worker's programs to run on", || children(other).len() == kept);
    wait::until("the programs of the dead worker to be gone", || served.programs().iter().filter(|&&pid| is_gone(pid)).count() == lost);
    drop((programs, uploads));
    wait::until("all programs to be gone", || served.programs().iter().all(|&pid| is_gone(pid)));
    wait::until("all temporary files to be gone", || served.uploads() == 0);
    let reply = served.get("/reply?body=on");
    assert_eq!(reply.text(), "on");
    for (pid, before) in before.into_iter().filter(|(pid, _)| *pid != victim) {
        // A worker opens some with its first program, and a front keeps connections for whom it asks next.
        let kept = if pid == other { 4 + if way.is_fastcgi() { 16 } else { 0 } } else { 0 };
        wait::until(format!("the descriptors of {pid} to be closed"), || descriptors(pid) <= before + kept);
    }
}

#[test]
fn a_killed_worker_leaves_nothing_behind() {
    killed_worker(Way::Http1);
}

#[test]
fn a_killed_worker_behind_nginx_leaves_nothing_behind() {
    killed_worker(Way::Nginx);
}

#[test]
fn a_killed_worker_breaks_off_what_it_was_answering() {
    let served = Served::start(Way::Http1);
    let mut exchange = served.open(Asked { method: "GET", target: "/lines?key=lines", fields: &[], body: Announced::None });
    exchange.head().expect("a head");
    send(served.worker(), Signal::SIGKILL);
    let ended = loop {
        match exchange.piece() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looks whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
    wait::until("another worker", || served.try_get("/reply?body=on").is_ok_and(|reply| reply.text() == "on"));
}
