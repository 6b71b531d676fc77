//! The server over real sockets, with records as no front sends them.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread::JoinHandle;

use super::FastCgiServer;
use super::config::FastCgi;
use crate::codec::fastcgi::{
    BeginRequest, EndRequest, Kind, ProtocolStatus, RESPONDER, RecordError, decode, pairs, write_end, write_pair, write_record,
};
use crate::limiter::Limiter;
use crate::net::{Accepted, Peer};
use crate::reactor;
use crate::request::errors::ErrorPage;
use crate::request::headers::Headers;
use crate::request::limits::Limits;
use crate::request::route::{Action, Host, Route};
use crate::request::{Answer, Handler, Request, Response, ResponseBody};
use crate::scoreboard::Scoreboard;
use crate::servers::host::RequestIds;
use crate::servers::live::Given;

/// Answers by path.
struct Probe;

impl Handler for Probe {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        match request.path() {
            "/panic" => panic!("as asked"),
            "/broken" => {
                let pieces = [Ok(bytes::Bytes::from(vec![b'x'; 1 << 20])), Err(std::io::Error::other("as asked"))];
                Answer::Now(Response::new(200, ResponseBody::Stream(Box::pin(futures_lite::stream::iter(pieces)))))
            }
            "/wait" => Answer::Later(Box::pin(std::future::pending())),
            "/echo" => Answer::Later(Box::pin(async move {
                match request.body.bytes(10 << 20).await {
                    Ok(bytes) => Response::new(200, bytes),
                    Err(error) => Response::error(error.status(), &error.to_string()),
                }
            })),
            path => Answer::Now(Response::text(200, format!("{} {path}", request.head.method))),
        }
    }
}

/// A front with a server of its own, which ends when its connection has ended.
struct Front {
    stream: UnixStream,
    input: Vec<u8>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

impl Front {
    fn new(change: impl FnOnce(&mut FastCgi)) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let route = Route::new(Host::Any, "/", Action::App("probe".into()));
        let mut config = FastCgi { routes: vec![route], ..FastCgi::default() };
        change(&mut config);
        let thread = std::thread::spawn(move || {
            let board = Scoreboard::new(1).unwrap();
            let slot = board.slot(0);
            reactor::run(async move {
                let handler: Rc<dyn Handler> = Rc::new(Probe);
                let apps = [("probe".to_owned(), handler)].into();
                let limiter = Rc::new(Limiter::new(64, 1).unwrap());
                let files = std::collections::BTreeMap::new();
                let given = Given { apps: &apps, files: &files, access: None, limiter: Some(&limiter) };
                let server = FastCgiServer::new("fcgi", config, given, slot, Rc::new(RequestIds::new(0, 1)));
                server.serve(Accepted { fd: OwnedFd::from(theirs), peer: Peer::Unix(None) }, &Peer::Unknown).unwrap();
                while server.connections() > 0 {
                    reactor::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
            .unwrap();
            assert_eq!(slot.active().load(std::sync::atomic::Ordering::Relaxed), 0);
        });
        Self { stream: ours, input: Vec::new(), thread: Some(thread) }
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.stream.write_all(&out).unwrap();
    }

    /// The next record; `None` at the end of the connection.
    fn record(&mut self) -> Option<(Kind, u16, Vec<u8>)> {
        loop {
            if let Some(record) = decode(&self.input).unwrap() {
                let taken = (record.kind, record.request, record.content.to_vec());
                let consumed = record.consumed;
                self.input.drain(..consumed);
                return Some(taken);
            }
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.input.extend_from_slice(&buffer[..read]);
        }
    }

    /// What the next request to end was answered: its number, STDOUT, how it ended.
    fn answer(&mut self) -> (u16, String, EndRequest) {
        let mut outputs = std::collections::BTreeMap::<u16, Vec<u8>>::new();
        loop {
            let (kind, id, content) = self.record().expect("an answer");
            match kind {
                Kind::Stdout => outputs.entry(id).or_default().extend(content),
                Kind::EndRequest => {
                    let output = outputs.remove(&id).unwrap_or_default();
                    return (id, String::from_utf8(output).unwrap(), EndRequest::read(&content).unwrap());
                }
                Kind::Stderr => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A request up to the end of its parameters.
fn head(id: u16, method: &str, path: &str, keep: bool, out: &mut Vec<u8>) {
    BeginRequest { role: RESPONDER, keep }.write(id, out);
    let mut parameters = Vec::new();
    write_pair(b"REQUEST_METHOD", method.as_bytes(), &mut parameters);
    write_pair(b"REQUEST_URI", path.as_bytes(), &mut parameters);
    write_pair(b"HTTP_X_LONG", &[b'x'; 300], &mut parameters);
    parameters.chunks(7).for_each(|piece| write_record(Kind::Params, id, piece, out));
    write_end(Kind::Params, id, out);
}

/// A whole request of a client at this address.
fn from(address: &str, path: &str, out: &mut Vec<u8>) {
    BeginRequest { role: RESPONDER, keep: true }.write(1, out);
    let mut parameters = Vec::new();
    for (name, value) in [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path), ("REMOTE_ADDR", address)] {
        write_pair(name.as_bytes(), value.as_bytes(), &mut parameters);
    }
    write_record(Kind::Params, 1, &parameters, out);
    write_end(Kind::Params, 1, out);
    write_end(Kind::Stdin, 1, out);
}

const COMPLETE: EndRequest = EndRequest { app_status: 0, protocol: ProtocolStatus::Complete };

#[test]
fn a_connection_is_kept_when_that_was_asked_for() {
    let mut front = Front::new(|_| {});
    for keep in [true, true, false] {
        front.send(|out| {
            head(1, "GET", "/a", keep, out);
            write_end(Kind::Stdin, 1, out);
        });
        let (id, output, end) = front.answer();
        assert!(output.starts_with("Status: 200 OK\r\n") && output.ends_with("\r\n\r\nGET /a"), "{output}");
        assert_eq!((id, end), (1, COMPLETE));
    }
    assert_eq!(front.record(), None);
}

#[test]
fn requests_of_one_connection_do_not_wait_for_each_other() {
    let mut front = Front::new(|_| {});
    front.send(|out| {
        head(1, "POST", "/echo", true, out);
        head(2, "POST", "/echo", true, out);
        head(3, "GET", "/wait", true, out);
        head(4, "GET", "/panic", true, out);
        for (id, text) in [(1, "a"), (2, "b"), (1, "c"), (2, "d")] {
            write_record(Kind::Stdin, id, text.as_bytes(), out);
        }
    });
    let (id, output, _) = front.answer();
    assert!(id == 4 && output.starts_with("Status: 500 "), "{id} {output}");
    for (id, text) in [(2, "bd"), (1, "ac")] {
        front.send(|out| write_end(Kind::Stdin, id, out));
        let (ended, output, end) = front.answer();
        assert!(output.ends_with(text), "{output}");
        assert_eq!((ended, end), (id, COMPLETE));
    }
    front.send(|out| write_record(Kind::AbortRequest, 3, &[0; 0], out));
    front.send(|out| write_end(Kind::AbortRequest, 3, out));
    assert_eq!(front.answer(), (3, String::new(), COMPLETE));
}

#[test]
fn an_answer_that_breaks_off_is_passed_on_as_far_as_it_came() {
    let mut front = Front::new(|_| {});
    front.send(|out| {
        head(1, "POST", "/broken", true, out);
        // Nobody reads this: it must not take what is sent with it.
        write_record(Kind::Stdin, 1, &vec![b'y'; 40_000], out);
    });
    let (mut output, mut words) = (Vec::new(), String::new());
    front.stream.read_to_end(&mut front.input).unwrap();
    let mut rest = &front.input[..];
    let end = loop {
        match decode(rest) {
            Ok(Some(record)) => {
                match record.kind {
                    Kind::Stdout => output.extend_from_slice(record.content),
                    Kind::Stderr => words.push_str(&String::from_utf8_lossy(record.content)),
                    other => panic!("{other:?}"),
                }
                rest = &rest[record.consumed..];
            }
            other => break other,
        }
    };
    assert_eq!(end, Err(RecordError::Version(0)), "no front takes this for an end");
    assert!(output.starts_with(b"Status: 200 OK\r\n") && output.ends_with(&vec![b'x'; 1 << 20]), "{} bytes", output.len());
    assert_eq!(words, "the answer broke off: as asked\n");
}

#[test]
fn an_answer_that_breaks_off_beside_a_body_that_nobody_reads_leaves_the_connection() {
    let mut front = Front::new(|_| {});
    front.send(|out| {
        head(1, "POST", "/early", true, out);
        write_record(Kind::Stdin, 1, b"some of it", out);
    });
    assert_eq!(front.answer().0, 1);
    let broken = |id, out: &mut Vec<u8>| {
        head(id, "GET", "/broken", true, out);
        write_end(Kind::Stdin, id, out);
    };
    front.send(|out| broken(2, out));
    let (id, output, end) = front.answer();
    assert!(output.ends_with('x'));
    assert_eq!((id, end), (2, EndRequest { app_status: 1, protocol: ProtocolStatus::Complete }));
    // Once the rest of it is there, nothing speaks for the connection any more.
    front.send(|out| {
        write_end(Kind::Stdin, 1, out);
        broken(3, out);
    });
    front.stream.read_to_end(&mut front.input).unwrap();
    assert!(front.input.ends_with(&[0; 8]), "no record");
}

#[test]
fn what_cannot_be_served_is_refused_by_itself() {
    let mut front = Front::new(|config| config.max_requests = 1);
    front.send(|out| {
        BeginRequest { role: 3, keep: true }.write(9, out);
        head(1, "GET", "/wait", true, out);
        BeginRequest { role: RESPONDER, keep: true }.write(2, out);
        write_record(Kind::Stdin, 77, b"of nobody", out);
        write_record(Kind::Other(200), 1, b"?", out);
        write_end(Kind::AbortRequest, 1, out);
    });
    assert_eq!(front.answer().2.protocol, ProtocolStatus::UnknownRole);
    assert_eq!(front.answer().2.protocol, ProtocolStatus::Overloaded);
    assert_eq!(front.answer(), (1, String::new(), COMPLETE));
}

#[test]
fn management_records_are_answered() {
    let mut front = Front::new(|_| {});
    let mut asked = Vec::new();
    for name in ["FCGI_MPXS_CONNS", "FCGI_MAX_CONNS", "WHAT"] {
        write_pair(name.as_bytes(), b"", &mut asked);
    }
    front.send(|out| {
        write_record(Kind::GetValues, 0, &asked, out);
        write_record(Kind::Other(99), 0, b"x", out);
    });
    let (kind, _, content) = front.record().unwrap();
    let values: Vec<_> = pairs(&content).map(Result::unwrap).collect();
    assert_eq!((kind, values), (Kind::GetValuesResult, vec![(&b"FCGI_MPXS_CONNS"[..], &b"1"[..]), (b"FCGI_MAX_CONNS", b"10000")]));
    assert_eq!(front.record(), Some((Kind::UnknownType, 0, vec![99, 0, 0, 0, 0, 0, 0, 0])));
}

#[test]
fn a_body_is_bounded_and_larger_than_what_waits() {
    let mut front = Front::new(|config| config.max_body = crate::units::HumanSize::mib(2));
    for (length, status) in [(1 << 20, "200"), ((2 << 20) + 1, "413")] {
        let body = vec![b'x'; length];
        front.send(|out| {
            head(1, "POST", "/echo", true, out);
            write_record(Kind::Stdin, 1, &body, out);
            write_end(Kind::Stdin, 1, out);
        });
        let (_, output, _) = front.answer();
        assert_eq!(output.get(8..11), Some(status));
    }
}

#[test]
fn parameters_that_are_none_are_answered_and_garbage_ends_the_connection() {
    let mut front = Front::new(|config| config.max_parameter_bytes = crate::units::HumanSize::bytes(512));
    for (content, status) in [(&b"\xff\xff\xff\xff"[..], "400"), (&[0; 600], "431"), (b"", "400")] {
        front.send(|out| {
            BeginRequest { role: RESPONDER, keep: true }.write(1, out);
            write_record(Kind::Params, 1, content, out);
            write_end(Kind::Params, 1, out);
        });
        assert_eq!(front.answer().1.get(8..11), Some(status));
    }
    front.send(|out| out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n"));
    assert_eq!(front.record(), None);
}

#[test]
fn limits_are_of_the_clients_that_the_front_names() {
    let mut front = Front::new(|config| {
        config.limits = Some(Box::new(Limits { rate: "2/h".parse().ok(), ..Limits::default() }));
    });
    for (address, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        front.send(|out| from(address, "/a", out));
        let (_, output, end) = front.answer();
        assert!(output.starts_with(&format!("Status: {status} ")), "{address}: {output}");
        assert!(status == 200 || output.contains("\r\nRetry-After: 1800\r\n"), "{output}");
        assert_eq!(end, COMPLETE);
    }
}

#[test]
fn errors_have_pages_and_fields_before_a_route_is_found_too() {
    let mut front = Front::new(|config| {
        let page = |status: &str, body: &str| ErrorPage {
            status: vec![status.parse().unwrap()],
            body: Some(body.to_owned()),
            ..ErrorPage::default()
        };
        config.errors = vec![page("404", "<p>{status} {reason}</p>"), page("4xx", "no request")];
        config.headers = Some(Box::new(Headers { set: [("X-A".to_owned(), "b".to_owned())].into(), ..Headers::default() }));
        config.routes = vec![Route::new(Host::Any, "/a", Action::App("probe".into()))];
    });
    let mut ask = |method: &str, path: &str| {
        front.send(|out| {
            head(1, method, path, true, out);
            write_end(Kind::Stdin, 1, out);
        });
        let (_, output, end) = front.answer();
        assert_eq!(end, COMPLETE);
        assert!(output.contains("\r\nX-A: b\r\n"), "{output}");
        output
    };
    let found = ask("GET", "/a/b");
    assert!(found.starts_with("Status: 200 ") && found.ends_with("\r\n\r\nGET /b"), "{found}");
    let lost = ask("GET", "/b");
    assert!(lost.starts_with("Status: 404 ") && lost.ends_with("\r\n\r\n<p>404 Not Found</p>"), "{lost}");
    let lost = ask("HEAD", "/b");
    assert!(lost.contains("\r\nContent-Length: 20\r\n") && lost.ends_with("\r\n\r\n"), "{lost}");
    let refused = ask("G T", "/a");
    assert!(refused.starts_with("Status: 400 ") && refused.ends_with("\r\n\r\nno request"), "{refused}");
}
