//! Bodies that are larger than memory should be, and that come bit by bit.

use std::fs;
use std::io::{Read, Write};
use std::thread;

use crate::programs::Programs;
use crate::support::client::Client;

/// Bytes that go through a program.
const SIZE: usize = 200 << 20;

#[test]
fn large_bodies_go_both_ways_in_flat_memory() {
    let programs = Programs::start();
    let client = Client::connect(programs.skep.address()).expect("a connection");
    let mut stream = client.stream();
    let head = format!("POST /cgi/echo.pl HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut writing = stream.try_clone().expect("a socket");
    let writer = thread::spawn(move || {
        let piece: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
        for _ in 0..SIZE / piece.len() {
            writing.write_all(&piece).expect("sent");
        }
    });
    let (mut received, mut buffer) = (0u64, vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer).expect("an answer") {
            0 => break,
            count => received += count as u64,
        }
    }
    writer.join().expect("all was sent");
    assert!(received > SIZE as u64, "{received}");
    let status = fs::read_to_string(format!("/proc/{}/status", programs.worker())).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("the worker's most memory: {kilobytes} kB");
    assert!(kilobytes < 96 << 10, "{peak}");
}

#[test]
fn a_piece_is_there_before_the_next_is_sent() {
    let programs = Programs::start();
    let client = Client::connect(programs.skep.address()).expect("a connection");
    let mut stream = client.stream();
    stream.write_all(b"POST /cgi/echo.pl HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n").expect("sent");
    let mut seen = String::new();
    let mut until = |words: &str| {
        let mut buffer = [0; 1024];
        while !seen.contains(words) {
            let count = (&mut client.stream()).read(&mut buffer).expect("an answer");
            assert!(count > 0, "{words} did not come: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    until("x-length: unknown");
    for word in ["one", "two", "three"] {
        stream.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).expect("sent");
        until(word);
    }
    stream.write_all(b"0\r\n\r\n").expect("sent");
    until("0\r\n\r\n");
}

#[test]
fn a_program_that_answers_first_gets_the_whole_body() {
    let programs = Programs::start();
    let mut client = Client::connect(programs.skep.address()).expect("a connection");
    let body = vec![b'x'; 3 << 20];
    client.send(format!("POST /cgi/early.py HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).expect("sent");
    client.send(&body).expect("sent");
    assert_eq!(client.read_reply().expect("a reply").status, 204);
    assert_eq!(programs.tell(1), [3 << 20]);
}

#[test]
fn a_body_that_nobody_reads_does_not_hold_the_answer() {
    let programs = Programs::start();
    let mut client = Client::connect(programs.skep.address()).expect("a connection");
    let body = vec![b'x'; 1 << 20];
    client.send(format!("POST /cgi/deaf.sh HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).expect("sent");
    client.send(&body).expect("sent");
    assert_eq!(client.read_reply().expect("a reply").text(), "nothing read");
}
