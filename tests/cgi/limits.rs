//! Time, output, places, and what is left when an exchange ends before its time.

use std::io::Read;
use std::thread;

use nix::sys::signal::Signal;

use crate::programs::Programs;
use crate::support::client::{Client, get};
use crate::support::server::{is_gone, send};
use crate::support::wait;

/// Sends a request and does not wait for its answer.
fn begin(programs: &Programs, path: &str) -> Client {
    let mut client = Client::connect(programs.skep.address()).expect("a connection");
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("sent");
    client
}

#[test]
fn time_is_limited_before_and_behind_the_head() {
    let programs = Programs::start();
    let reply = get(programs.skep.address(), "/hasty/wait.sh").expect("a reply");
    assert_eq!(reply.status, 504);
    programs.gone();
    programs.logged(&["wait.sh", "it took longer than 400ms and was killed"]);
    let cut = get(programs.skep.address(), "/hasty/wait.sh?A:%20b%0a%0ahalf");
    assert_eq!(cut.expect_err("an answer that breaks off").kind(), std::io::ErrorKind::UnexpectedEof);
    programs.gone();
}

#[test]
fn a_client_that_leaves_takes_the_program_with_it() {
    let programs = Programs::start();
    let before = begin(&programs, "/cgi/wait.sh");
    let during = begin(&programs, "/cgi/wait.sh?A:%20b%0a%0ahalf");
    let mut uploading = Client::connect(programs.skep.address()).expect("a connection");
    uploading.send(b"POST /cgi/wait.sh HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf").expect("sent");
    let told = programs.tell(6);
    assert!(told.iter().all(|&pid| !is_gone(pid)));
    drop((before, during, uploading));
    programs.gone();
    assert!(children(programs.worker()).is_empty(), "a program was not reaped");
}

/// The children of a process, zombies included.
fn children(pid: i32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.flat_map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn a_program_that_is_killed_breaks_its_answer_off() {
    let programs = Programs::start();
    let cut = get(programs.skep.address(), "/cgi/killed.sh");
    assert_eq!(cut.expect_err("an answer that breaks off").kind(), std::io::ErrorKind::UnexpectedEof);
    programs.logged(&["killed.sh", "it was ended by SIGKILL"]);
    let mut client = begin(&programs, "/cgi/wait.sh?A:%20b%0a%0ahalf");
    let told = programs.tell(2);
    send(told[0], Signal::SIGKILL);
    assert_eq!(client.read_reply().expect_err("an answer that breaks off").kind(), std::io::ErrorKind::UnexpectedEof);
    programs.gone();
    let short = get(programs.skep.address(), "/cgi/short.pl");
    assert_eq!(short.expect_err("an answer that breaks off").kind(), std::io::ErrorKind::UnexpectedEof);
    programs.logged(&["short.pl", "5 bytes shorter than its Content-Length"]);
}

#[test]
fn what_a_program_leaves_behind_does_not_hold_its_answer() {
    let programs = Programs::start();
    assert_eq!(get(programs.skep.address(), "/cgi/leaves.sh").expect("a reply").text(), "left");
    for pid in programs.tell(1) {
        send(pid, Signal::SIGKILL);
    }
}

#[test]
fn programs_do_not_outlive_their_worker() {
    let programs = Programs::start();
    let _client = begin(&programs, "/cgi/wait.sh");
    let told = programs.tell(2);
    send(programs.worker(), Signal::SIGKILL);
    wait::until("the program to be gone", || is_gone(told[0]));
    send(told[1], Signal::SIGKILL);
    wait::until("another worker", || get(programs.skep.address(), "/cgi/deaf.sh").is_ok_and(|reply| reply.text() == "nothing read"));
}

#[test]
fn output_is_limited() {
    let programs = Programs::start();
    let reply = get(programs.skep.address(), "/bounded/big.pl");
    assert_eq!(reply.expect_err("an answer that breaks off").kind(), std::io::ErrorKind::UnexpectedEof);
    programs.logged(&["big.pl", "it wrote more than 102400 bytes and was killed"]);
}

#[test]
fn places_and_the_queue_for_them_are_limited() {
    let programs = Programs::start();
    let first = begin(&programs, "/narrow/wait.sh");
    programs.tell(2);
    let asked = || get(programs.skep.address(), "/narrow/deaf.sh").expect("a reply");
    // One may wait, in vain; the others may not.
    let replies: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(asked)).collect();
        asking.into_iter().map(|one| one.join().expect("a reply")).collect()
    });
    for reply in &replies {
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    }
    programs.logged(&["deaf.sh", "all places are taken, and 1 requests wait for one already"]);
    programs.logged(&["deaf.sh", "no place became free within 300ms"]);
    drop(first);
    programs.gone();
    wait::until("the place to be free", || asked().status == 200);
    let patient: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| get(programs.skep.address(), "/patient/deaf.sh"))).collect();
        asking.into_iter().map(|one| one.join().expect("a reply")).collect()
    });
    assert!(patient.into_iter().all(|reply| reply.expect("a reply").status == 200));
}

#[test]
fn words_on_standard_error_are_bounded_lines_of_the_log() {
    let programs = Programs::start();
    assert_eq!(get(programs.skep.address(), "/cgi/complains.pl").expect("a reply").text(), "fine");
    programs.logged(&["complains.pl: first words"]);
    programs.logged(&["complains.pl: 102 more lines on its standard error"]);
    let output = programs.skep.output();
    assert!(output.contains(&format!("{}…", "y".repeat(2048))) && !output.contains(&"y".repeat(2049)));
    assert!(output.contains("line 98") && !output.contains("line 99"));
}

#[test]
fn words_on_standard_error_are_in_the_answer_if_it_takes_them() {
    let programs = Programs::start();
    let address = programs.skep.address();
    // What was said before the header block is no part of that.
    let reply = get(address, "/loud/complains.pl").expect("a reply");
    let text = reply.text();
    assert_eq!((reply.status, reply.header("a")), (200, Some("b")));
    assert!(text.starts_with("first words\nyyy") && text.ends_with("line 200\nfine"), "{text}");
    let write = |name: &str, text: &str| programs.skep.site.write(&format!("cgi-bin/{name}"), text);
    write("later.pl", "$| = 1; print \"A: b\\n\\nbegin \"; print STDERR 'z' x 300000; print STDERR ' last words';");
    let reply = get(address, "/loud/later.pl").expect("a reply");
    let text = reply.text();
    assert_eq!((text.len(), text.matches('z').count()), ("begin ".len() + 300_000 + " last words".len(), 300_000));
    assert!(text.ends_with("z last words") && text.contains("begin "));
    // An answer of an announced length, and one that is none, leave them to the log.
    write("exact.pl", "print STDERR \"too much\\n\"; print \"Content-Length: 4\\n\\nfine\";");
    assert_eq!(get(address, "/loud/exact.pl").expect("a reply").text(), "fine");
    programs.logged(&["exact.pl: too much"]);
    write("fatal.pl", "die 'why it cannot';");
    assert_eq!(get(address, "/loud/fatal.pl").expect("a reply").status, 502);
    programs.logged(&["fatal.pl: why it cannot"]);
}

#[test]
fn a_program_that_has_answered_a_head_request_ends_by_itself() {
    let programs = Programs::start();
    programs.skep.site.write(
        "cgi-bin/after.py",
        "import os\nprint('A: b\\n', flush=True)\nprint('x' * 200000)\nopen(os.environ['PIDS'], 'a').write(str(os.getpid()))",
    );
    let mut client = Client::connect(programs.skep.address()).expect("a connection");
    client.send(b"HEAD /cgi/after.py HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let mut all = String::new();
    client.stream().read_to_string(&mut all).expect("an answer");
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    programs.tell(1);
    programs.gone();
}
