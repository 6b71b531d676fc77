//! Clients that leave before their exchange is over.

use crate::Case;
use crate::exchange::{Announced, Asked};
use crate::served::Served;
use crate::support::server::is_gone;
use crate::support::wait;

pub const CASES: &[Case] = &[
    ("who leaves while he waits", while_waiting),
    ("who leaves in the middle of an answer", amid_an_answer),
    ("who leaves in the middle of an upload", amid_an_upload),
    ("who leaves in the middle of a form", amid_a_form),
    ("who leaves a program", a_program),
];

fn while_waiting(served: &Served) {
    let exchange = served.open(Asked { method: "GET", target: "/sleep?key=waiting", fields: &[], body: Announced::None });
    served.remembers("waiting", "begun");
    drop(exchange);
    if served.way.tells_who_leaves() {
        served.remembers("waiting", "aborted");
    } else {
        served.wake("waiting");
        served.remembers("waiting", "woken");
    }
}

fn amid_an_answer(served: &Served) {
    let mut exchange = served.open(Asked { method: "GET", target: "/lines?key=answer", fields: &[], body: Announced::None });
    exchange.head().expect("a head");
    assert!(exchange.piece().expect("a piece").is_some());
    drop(exchange);
    if served.way.tells_who_leaves() {
        served.remembers("answer", "aborted");
    } else {
        served.wake("answer");
        served.remembers("answer", "done");
    }
}

fn amid_an_upload(served: &Served) {
    for (kind, body) in served.announced(1_000_000) {
        let key = &format!("leaving_{kind}");
        let mut exchange = served.open(Asked { method: "POST", target: &format!("/read?key={key}"), fields: &[], body });
        let (first, passed) = served.first_piece();
        exchange.send(&first).expect("sent");
        served.has_read(key, passed);
        drop(exchange);
        served.remembers(key, "aborted");
    }
}

fn amid_a_form(served: &Served) {
    let fields = [("content-type", "multipart/form-data; boundary=limit")];
    let mut exchange = served.open(Asked { method: "POST", target: "/echo", fields: &fields, body: Announced::Length(10_000_000) });
    exchange.send(b"--limit\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n").expect("sent");
    exchange.send(&vec![b'x'; 3_000_000]).expect("sent");
    wait::until("a temporary file", || served.uploads() == 1);
    drop(exchange);
    wait::until("the temporary file to be gone", || served.uploads() == 0);
}

fn a_program(served: &Served) {
    let before = served.programs().len();
    let exchange = served.open(Asked { method: "GET", target: "/cgi/waits.pl", fields: &[], body: Announced::None });
    wait::until("the program to run", || served.programs().len() > before);
    let pid = served.programs()[before];
    assert!(!is_gone(pid));
    drop(exchange);
    if !served.way.tells_who_leaves() {
        // It would run for as long as its `timeout` lets it.
        crate::support::server::send(pid, nix::sys::signal::Signal::SIGKILL);
    }
    wait::until("the program to be gone", || is_gone(pid));
}
