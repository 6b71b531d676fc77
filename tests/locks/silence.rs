//! Clients that are there no more, or not just now, without a word: stopped processes, and a network that carries nothing any more.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, value};
use crate::history::{Grant, check, now};
use crate::support::server::send;
use crate::support::wire::Wire;
use crate::support::{client as http, wait};
use crate::{start, start_server, start_with};

/// The lease of those who are cut off while they hold a lock.
const LEASE: Duration = Duration::from_millis(600);
const NAMES: usize = 8;
const WAITING: usize = 5;

#[test]
fn leases_of_who_was_cut_off_end_and_who_waits_gets_them_in_order() {
    let locks = start(2, "");
    let wire = Wire::to(locks.address);
    // Behind the wire each name has a holder and somebody who waits; before it, five more wait for each.
    let mut behind: Vec<Client> = (0..2 * NAMES).map(|_| Client::extended(wire.address)).collect();
    let mut history = Vec::new();
    for (number, client) in behind.iter_mut().enumerate() {
        let name = format!("n{}", number % NAMES);
        // Nothing ends before all are in their places. Who waits behind the wire will be given the lock too, and hear nothing of it.
        let line = format!("lock {name} lease={} wait=20s", if number < NAMES { "20s" } else { "200ms" });
        let asked = now();
        let words = client.ask(&line);
        let token = (number < NAMES).then(|| value(&words, "token"));
        assert_eq!(words[0], if number < NAMES { "LOCKED" } else { "QUEUED" });
        if let Some(token) = token {
            history.push(Grant { client: number, name, asked, queued: None, from: now(), to: 0, token: Some(token) });
        }
    }
    let before: Vec<Vec<(Client, String, u64, u64)>> = (0..WAITING)
        .map(|_| {
            let one = |number| {
                let (mut client, name, asked) = (Client::extended(locks.address), format!("n{number}"), now());
                assert_eq!(client.ask(&format!("lock {name} wait=30s lease=20s")), ["QUEUED", name.as_str()]);
                (client, name, asked, now())
            };
            (0..NAMES).map(one).collect()
        })
        .collect();
    let millis = LEASE.as_millis();
    for (grant, client) in history.iter_mut().zip(&mut behind) {
        // By its own clock, which is all that it has from now on, the lease begins when it is asked for.
        grant.to = now() + LEASE.as_micros() as u64;
        assert_eq!(client.ask(&format!("renew {} lease={millis}ms", grant.name))[0], "RENEWED");
    }
    wire.cut();
    let mut threads = Vec::new();
    for (place, row) in before.into_iter().enumerate() {
        for (mut client, name, asked, queued) in row {
            threads.push(thread::spawn(move || {
                let words = client.words();
                assert_eq!(words[..2], ["LOCKED".to_owned(), name.clone()]);
                let from = now();
                let token = Some(value(&words, "token"));
                wait::pause(Duration::from_millis(1));
                let grant = Grant { client: 100 + place, name: name.clone(), asked, queued: Some(queued), from, to: now(), token };
                assert_eq!(client.ask(&format!("unlock {name}"))[0], "UNLOCKED");
                grant
            }));
        }
    }
    history.extend(threads.into_iter().map(|thread| thread.join().expect("it gets the lock")));
    assert_eq!(history.len(), NAMES * (WAITING + 1));
    assert_eq!(check(&history), []);
}

#[test]
fn a_job_of_who_was_cut_off_stands_until_the_silence_is_too_long() {
    let patient = start(2, "");
    let strict = start_server(2, "idle: \"1s\"");
    for (locks, ends) in [(&patient, false), (&strict, true)] {
        let wire = Wire::to(locks.address);
        let mut holder = Client::connect(wire.address);
        let mut waiter = Client::connect(locks.address);
        holder.exchange(b"acquire job\n", b"RUN job\n");
        waiter.exchange(b"acquireWait job\n", b"WAIT job\n");
        wire.cut();
        // Whoever asks is not silent, and learns of the job what there is to know.
        let mut told = 0;
        wait::until("the outcome, or twice the time it would take", || {
            wait::pause(Duration::from_millis(50));
            waiter.send(b"hullo\n");
            told += 1;
            match waiter.line().as_slice() {
                b"FAILED job\n" => {
                    assert!(ends, "nobody ended the job");
                    waiter.expect(b"PROTOCOL_ERROR\n");
                    true
                }
                line => {
                    assert_eq!(line, b"PROTOCOL_ERROR\n");
                    !ends && told == 40
                }
            }
        });
        let mut other = Client::connect(locks.address);
        other.exchange(b"acquire job\n", if ends { b"RUN job\n" } else { b"FAILED job\n" });
    }
}

/// Holds a lease and a job of another skep for as long as it lives.
const HOLDER: &str = r#"
local lock = require("@skep/lock")
local skep = require("@skep")
local app, seen = {}, {}

function app.request(req)
    if req.path == "/hold" then
        for number = 1, 4 do
            skep.spawn(function()
                local mine = assert(lock.acquire("lease-" .. number, { client = "far", lease = "400ms" }))
                seen[number] = mine
                skep.sleep("10m")
            end)
        end
        skep.spawn(function()
            lock.job("job", { client = "far" }, function()
                seen.job = true
                skep.sleep("10m")
            end)
        end)
        while not (#seen == 4 and seen.job) do
            skep.sleep("1ms")
        end
    elseif req.path == "/lost" then
        local count = 0
        for number = 1, 4 do
            count += if seen[number].lost then 1 else 0
        end
        return tostring(count)
    end
    return "here"
end

return app
"#;

#[test]
fn a_stopped_holder_keeps_its_job_and_loses_its_leases() {
    let far = start(2, "");
    let more = format!("clients: {{\"far\": Lock(servers: [\"{}\"])}}", far.address);
    let near = start_with(1, &more, "\"hold\": Script(path: \"apps/hold\")", Some(HOLDER));
    let get = |page: &str| http::get(near.skep.address(), page).expect("an answer").text();
    assert_eq!(get("/hold"), "here");
    let mut waiting: Vec<Client> = (0..20).map(|_| Client::extended(far.address)).collect();
    let mut tokens = vec![0; 4];
    let mut list = Client::extended(far.address);
    assert_eq!(list.ask("list lease-"), ["LIST", "4"]);
    for token in &mut tokens {
        *token = value(&list.words(), "token");
    }
    for (number, client) in waiting.iter_mut().enumerate() {
        let name = format!("lease-{}", number % 4 + 1);
        assert_eq!(client.ask(&format!("lock {name} wait=30s")), ["QUEUED", name.as_str()]);
    }
    let mut after = Client::connect(far.address);
    after.exchange(b"acquireWait job\n", b"WAIT job\n");
    // The master first: it would end a worker that does not answer any more.
    let mut all = near.skep.processes();
    all.sort_by_key(|pid| *pid != near.skep.master());
    all.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    for (number, client) in waiting.iter_mut().enumerate() {
        let words = client.words();
        let (name, token) = (format!("lease-{}", number % 4 + 1), value(&words, "token"));
        assert_eq!(words[..2], ["LOCKED".to_owned(), name.clone()], "in order of asking");
        assert!(std::mem::replace(&mut tokens[number % 4], token) < token, "tokens grow");
        assert_eq!(client.ask(&format!("unlock {name}"))[0], "UNLOCKED");
    }
    // The job has no end of its own; its holder's connection stands.
    let mut asking = Client::connect(far.address);
    asking.exchange(b"acquire job\n", b"FAILED job\n");
    all.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    wait::until("the holder to know that its leases are lost", || {
        http::get(near.skep.address(), "/lost").is_ok_and(|lost| lost.text() == "4")
    });
    asking.exchange(b"acquire job\n", b"FAILED job\n");
    // The end of the process is the end of the job.
    for worker in near.skep.status().workers {
        send(worker.pid, Signal::SIGKILL);
    }
    after.expect(b"FAILED job\n");
    asking.exchange(b"acquire job\n", b"RUN job\n");
}
