//! CGI programs, asked by each way in.

use crate::Case;
use crate::exchange::{Announced, Asked, read};
use crate::served::Served;

pub const CASES: &[Case] = &[
    ("what a program is told", told),
    ("a program's input and output", echo),
    ("a program's statuses and redirects", statuses),
    ("files in the place of what applications and programs answer", sendfile),
    ("programs that fail", failing),
];

fn told(served: &Served) {
    let fields = [("x-own", "1"), ("cookie", "a=1; b=2"), ("proxy", "evil"), ("content-type", "text/plain")];
    let reply = served.ask("POST", "/cgi/env.pl/in%20fo?q=%20x&%u0416", &fields, b"body");
    assert_eq!((reply.status, reply.header("x-kind")), (200, Some("program")));
    assert_eq!(reply.text(), "POST|/cgi/env.pl|/in fo|q=%20x&%u0416|text/plain|4|1|a=1; b=2|-|body");
    // HAProxy says of a request without a body that it has none.
    let length = if served.way.is_haproxy() { "0" } else { "-" };
    assert_eq!(served.get("/cgi/env.pl").text(), format!("GET|/cgi/env.pl|-||-|{length}|-|-|-|"));
    let reply = served.ask("HEAD", "/cgi/env.pl", &[], b"");
    assert_eq!((reply.status, reply.header("x-kind"), reply.body.len()), (200, Some("program"), 0));
}

fn echo(served: &Served) {
    let sent: Vec<u8> = (0..600_000u32).map(|at| (at % 253) as u8).collect();
    assert!(served.ask("POST", "/cgi/echo.pl", &[], &sent).body == sent);
    let mut exchange = served.open(Asked { method: "POST", target: "/cgi/echo.pl", fields: &[], body: Announced::Unknown });
    for piece in [&b"one "[..], b"two"] {
        exchange.send(piece).expect("sent");
    }
    exchange.finish().expect("sent");
    assert_eq!(read(&mut *exchange).expect("a reply").text(), "one two");
}

fn statuses(served: &Served) {
    for status in [201, 404, 418, 503] {
        let reply = served.get(&format!("/cgi/status.pl?{status}"));
        assert_eq!((reply.status, reply.text().as_str()), (status, "as asked"));
    }
    let reply = served.get("/cgi/onward.pl?http://elsewhere.test/x");
    assert_eq!((reply.status, reply.header("location")), (302, Some("http://elsewhere.test/x")));
    // A local one is answered at once.
    let reply = served.get("/cgi/onward.pl?/files/digits.txt");
    assert_eq!((reply.status, reply.body.len()), (200, 300_000));
}

fn sendfile(served: &Served) {
    let file = served.skep.site.path().join("sent/file.txt").display().to_string();
    for named in ["/cgi/sends.pl?", "/named?name="] {
        let reply = served.get(&format!("{named}{file}"));
        assert_eq!(
            (reply.status, reply.body.len(), reply.header("x-own"), reply.header("x-sendfile")),
            (200, 1000, Some("1"), None),
            "{named}"
        );
        let reply = served.ask("GET", &format!("{named}{file}"), &[("range", "bytes=3-5")], b"");
        assert_eq!((reply.status, reply.text().as_str()), (206, "345"), "{named}");
        assert_eq!(served.get(&format!("{named}/etc/passwd")).status, 404, "{named}");
    }
}

fn failing(served: &Served) {
    assert_eq!(served.get("/cgi/none.pl").status, 502);
    assert_eq!(served.get("/cgi/missing.pl").status, 404);
    served.breaks_off(served.try_get("/cgi/dies.pl"));
    assert_eq!(served.get("/cgi/status.pl?200").text(), "as asked");
}
