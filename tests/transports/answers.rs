//! Answers: heads, bodies, files, streams, and errors.

use crate::Case;
use crate::exchange::{Announced, Asked, read};
use crate::served::{Served, Way};
use crate::support::client::Reply;

pub const CASES: &[Case] = &[
    ("statuses", statuses),
    ("fields of an answer", fields),
    ("HEAD", head),
    ("redirects", redirects),
    ("an answer comes bit by bit", bit_by_bit),
    ("a big answer", big),
    ("files, ranges and conditions", files),
    ("sleep, wakeup and time-out", sleeping),
    ("an error has its page, and others go on", errors),
    ("an answer that breaks off does not look whole", broken),
];

fn statuses(served: &Served) {
    for status in [200, 201, 202, 203, 206, 299, 400, 401, 403, 404, 409, 410, 418, 422, 429, 451, 500, 501, 502, 503, 504, 599] {
        let reply = served.get(&format!("/reply?status={status}&body=words"));
        assert_eq!((reply.status, reply.text().as_str()), (status, "words"));
    }
    for status in [204, 304] {
        let reply = served.get(&format!("/reply?status={status}"));
        assert_eq!((reply.status, reply.body.len()), (status, 0));
    }
}

fn all<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
    reply.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
}

fn fields(served: &Served) {
    let reply = served.get("/reply?body=x");
    assert_eq!(reply.header("x-own"), Some("words; of=\"ours\""));
    assert_eq!(all(&reply, "x-list").join(", "), "one, two");
    assert_eq!(reply.header("x-long").map(str::len), Some(6000));
    let cookies = all(&reply, "set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies[0].starts_with("a=1;") && cookies[1].starts_with("b=2;") && cookies[1].contains("Path=/b"), "{cookies:?}");
    assert_eq!((all(&reply, "date").len(), all(&reply, "status").len()), (1, 0), "{:?}", reply.headers);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    // Apache that passes on what comes at once sends it in chunks, whatever the length.
    assert_eq!(reply.header("content-length"), if served.way == Way::Apache { None } else { Some("1") });
}

fn head(served: &Served) {
    let reply = served.ask("HEAD", "/reply?body=words", &[], b"");
    assert_eq!((reply.status, reply.header("x-own"), reply.body.len()), (200, Some("words; of=\"ours\""), 0));
    // Apache takes the length of an answer to HEAD away when no body came that it could count (ap_content_length_filter).
    let length = if served.way == Way::Apache { None } else { Some("5") };
    assert_eq!(reply.header("content-length"), length);
    let reply = served.ask("HEAD", "/files/digits.txt", &[], b"");
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(reply.header("etag").is_some() && reply.header("last-modified").is_some());
    let reply = served.ask("HEAD", "/nothing", &[], b"");
    assert_eq!((reply.status, reply.body.len()), (404, 0));
}

fn redirects(served: &Served) {
    let reply = served.get("/redirect");
    assert_eq!((reply.status, reply.header("location")), (303, Some("/echo?redirected=1")));
    for status in [301, 302, 307, 308] {
        let reply = served.get(&format!("/redirect?status={status}"));
        assert_eq!((reply.status, reply.header("location")), (status, Some("/echo?redirected=1")));
    }
    let reply = served.get("/moved");
    assert_eq!((reply.status / 100, reply.header("location")), (3, Some("/echo?moved")));
}

fn bit_by_bit(served: &Served) {
    let mut exchange = served.open(Asked { method: "GET", target: "/lines?key=lines", fields: &[], body: Announced::None });
    assert_eq!(exchange.head().expect("a head").status, 200);
    let mut seen = Vec::new();
    while seen.len() < 7 {
        seen.extend(exchange.piece().expect("a piece").expect("more"));
    }
    assert_eq!(seen, b"line 1\n");
    served.wake("lines");
    while let Some(piece) = exchange.piece().expect("a piece") {
        seen.extend(piece);
    }
    assert_eq!(seen, b"line 1\nline 2\n");
    assert_eq!(served.remembered("lines"), "done");
}

fn big(served: &Served) {
    let reply = served.get("/big?pieces=200");
    assert!(reply.status == 200 && reply.body == b"0123456789abcdef".repeat(4096 * 200));
    let many: Vec<Reply> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| served.get("/big?pieces=16"))).collect();
        asking.into_iter().map(|one| one.join().expect("a reply")).collect()
    });
    assert!(many.iter().all(|reply| reply.body.len() == 16 << 16));
}

fn files(served: &Served) {
    let whole = served.get("/files/digits.txt");
    assert_eq!((whole.status, whole.body.len(), whole.header("content-type")), (200, 300_000, Some("text/plain; charset=utf-8")));
    let asked = |fields: &[(&str, &str)]| served.ask("GET", "/files/digits.txt", fields, b"");
    let part = asked(&[("range", "bytes=5-14")]);
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "5678901234", Some("bytes 5-14/300000")));
    assert_eq!(asked(&[("range", "bytes=-3")]).text(), "789");
    let several = asked(&[("range", "bytes=0-1,10-12")]);
    assert!(several.status == 206 && several.header("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges")));
    assert!(several.text().contains("\r\n01\r\n") && several.text().contains("\r\n012\r\n"), "{}", several.text());
    let none = asked(&[("range", "bytes=300000-")]);
    assert_eq!((none.status, none.header("content-range")), (416, Some("bytes */300000")));
    let (tag, time) = (whole.header("etag").expect("a tag"), whole.header("last-modified").expect("a time"));
    for condition in [("if-none-match", tag), ("if-modified-since", time)] {
        let reply = asked(&[condition]);
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{condition:?}");
    }
    assert_eq!(asked(&[("if-match", "\"another\"")]).status, 412);
    assert_eq!(asked(&[("if-none-match", "\"another\"")]).status, 200);
    assert_eq!(asked(&[("range", "bytes=0-1"), ("if-range", tag)]).text(), "01");
    assert_eq!(asked(&[("range", "bytes=0-1"), ("if-range", "\"another\"")]).body.len(), 300_000);
    assert_eq!(served.get("/files/none.txt").status, 404);
    assert_eq!(served.ask("POST", "/files/digits.txt", &[], b"x").status, 405);
}

fn sleeping(served: &Served) {
    assert_eq!(served.get("/timeout").text(), "timeout");
    let reply = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| served.get("/sleep?key=sleeper"));
        served.wake("sleeper");
        sleeper.join().expect("a reply")
    });
    assert_eq!((reply.text().as_str(), served.remembered("sleeper").as_str()), ("woken", "woken"));
    assert_eq!(served.get("/wake?key=sleeper").status, 404, "it sleeps no more");
}

fn errors(served: &Served) {
    let reply = served.get("/fail");
    assert_eq!(reply.status, 500);
    assert!(!reply.body.is_empty() && reply.header("content-type").is_some_and(|kind| kind.starts_with("text/")), "{:?}", reply.headers);
    assert_eq!(served.get("/nothing").status, 404);
    // With `..` nothing leads out, whoever looks at the path first.
    assert!(matches!(served.get("/../etc/passwd").status, 400 | 404));
    assert_eq!(served.get("/reply?body=on").text(), "on");
}

fn broken(served: &Served) {
    let mut exchange = served.open(Asked { method: "GET", target: "/broken", fields: &[], body: Announced::None });
    served.breaks_off(read(&mut *exchange));
    assert_eq!(served.get("/reply?body=on").text(), "on");
}
