//! What the application sees of a request's head.

use serde_json::json;

use crate::Case;
use crate::served::{Served, Way};

pub const CASES: &[Case] = &[
    ("methods", methods),
    ("paths and queries", paths_and_queries),
    ("escapes of old scripts in a query", old_escapes),
    ("nested names in a query", nested_names),
    ("cookies", cookies),
    ("fields of a request", fields),
    ("where it came from", origin),
    ("what another protocol would smuggle in", odd_fields),
];

fn methods(served: &Served) {
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "PURGE"] {
        assert_eq!(served.told(method, "/echo", &[], b"")["method"], method);
    }
    // Whoever stands in front, nobody's request comes back to him.
    assert!(matches!(served.ask("TRACE", "/echo", &[("x-own", "secret")], b"").status, 400 | 405 | 501));
}

fn paths_and_queries(served: &Served) {
    let told = served.told("GET", "/echo?a=b%20c&d=e+f&empty=&flag&%C3%A4=%e4%bd%a0", &[], b"");
    assert_eq!(told["get"], json!({"a": "b c", "d": "e f", "empty": "", "flag": "", "ä": "你"}));
    assert_eq!((&told["path"], &told["query"]), (&"/echo".into(), &"a=b%20c&d=e+f&empty=&flag&%C3%A4=%e4%bd%a0".into()));
    let told = served.told("GET", "/x/../ec%68o?x=/../y", &[], b"");
    assert_eq!((&told["path"], &told["get"]["x"]), (&"/echo".into(), &"/../y".into()));
    assert_eq!(served.get("/n%C3%A4chste%20Seite").text(), "nothing at /nächste Seite");
    let long = "v".repeat(6000);
    assert_eq!(served.told("GET", &format!("/echo?long={long}"), &[], b"")["get"]["long"], long);
}

fn old_escapes(served: &Served) {
    let told = served.told("GET", "/echo?a=%u0416%u4f60&b=%u00e4%u&c=%uD83D%uDE00&d=100%", &[], b"");
    assert_eq!((&told["get"]["a"], &told["get"]["d"]), (&"Ж你".into(), &"100%".into()));
    assert_eq!(told["get"]["c"], "😀");
    assert!(told["get"]["b"].as_str().is_some_and(|text| text.starts_with('ä') && text.ends_with("%u")), "{told}");
}

fn nested_names(served: &Served) {
    let told = served.told("GET", "/echo?a[]=1&a[]=2&b[x][y]=3&b[x][z][]=4&c%5Bd%5D=5", &[], b"");
    assert_eq!(told["get"], json!({"a": ["1", "2"], "b": {"x": {"y": "3", "z": ["4"]}}, "c": {"d": "5"}}));
}

fn cookies(served: &Served) {
    let told = served.told("GET", "/echo", &[("cookie", "a=1; b=two%20words; c=\"quoted\"")], b"");
    assert_eq!(told["cookies"], json!({"a": "1", "b": "two words", "c": "quoted"}));
    // HTTP/2 sends them one by one, and has them put together (RFC 9113 §8.2.3).
    if served.way == Way::Http2 {
        let told = served.told("GET", "/echo", &[("cookie", "a=1"), ("cookie", "b=2")], b"");
        assert_eq!((&told["cookies"], &told["headers"]["cookie"]), (&json!({"a": "1", "b": "2"}), &"a=1; b=2".into()));
    }
}

fn fields(served: &Served) {
    let long = "v".repeat(8000);
    let told = served.told("GET", "/echo", &[("x-own", "a, b; c=\"d\""), ("x-long", &long), ("accept", "text/html;q=0.5, */*")], b"");
    let headers = &told["headers"];
    assert_eq!((&headers["x-own"], &headers["x-long"]), (&"a, b; c=\"d\"".into(), &long.into()));
    assert_eq!(headers["accept"], "text/html;q=0.5, */*");
    let told = served.told("GET", "/echo", &[("x-list", "one"), ("x-list", "two")], b"");
    assert_eq!(told["headers"]["x-list"], "one, two");
}

fn origin(served: &Served) {
    let told = served.told("GET", "/echo", &[], b"");
    // A proxy makes a connection of its own, and says in a field whose it is; FastCGI has parameters for that.
    assert_eq!(told["remote"], "127.0.0.1");
    if served.way == Way::Proxy {
        assert_eq!(told["headers"]["x-forwarded-for"], "127.0.0.1");
    }
    assert_eq!((&told["scheme"], &told["host"], &told["headers"]["host"]), (&"http".into(), &"site.test".into(), &"site.test".into()));
}

fn odd_fields(served: &Served) {
    let fields = [("proxy", "evil"), ("x-forwarded-for", "203.0.113.9"), ("content-type", "text/x-own")];
    let told = served.told("GET", "/echo", &fields, b"");
    assert_eq!(told["remote"], "127.0.0.1");
    assert_eq!(told["headers"]["content-type"], "text/x-own");
    if served.way == Way::Proxy {
        assert_eq!(told["headers"]["x-forwarded-for"], "127.0.0.1", "nobody is trusted to say so");
    }
    // Fields of the connection end with it.
    if served.way != Way::Http2 {
        let told = served.told("GET", "/echo", &[("connection", "x-own"), ("x-own", "1"), ("te", "trailers")], b"");
        if served.way == Way::Proxy {
            assert!(told["headers"].get("x-own").is_none(), "{told}");
        }
    }
}
