use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn text(line: &[u8]) -> &str {
    std::str::from_utf8(line).unwrap()
}

fn all(bytes: &[u8], piece: usize, max: usize) -> Vec<Input> {
    let mut lines = Lines::new(max);
    let mut inputs = Vec::new();
    for piece in bytes.chunks(piece) {
        lines.push(piece);
        while let Some(input) = lines.pull() {
            inputs.push(input);
        }
    }
    inputs
}

fn ping(id: u64) -> Input {
    Input::Packet(Packet::Request { id: id.into(), op: "ping".to_owned(), fields: Map::new() })
}

#[test]
fn packets_are_written_as_documented() {
    let fields = object(json!({"msg": "pong"}));
    assert_eq!(
        text(&response_line(&json!(7), "ping", &fields)),
        "{\"id\":7,\"response\":{\"op\":\"ping\",\"msg\":\"pong\"},\"type\":\"response\"}\n"
    );
    let fields = object(json!({"events": ["a:1"]}));
    assert_eq!(
        text(&request_line(3, "subscribeEvents", &fields)),
        "{\"id\":3,\"type\":\"request\",\"request\":{\"op\":\"subscribeEvents\",\"events\":[\"a:1\"]}}\n"
    );
    assert_eq!(
        text(&event_line("chat", b"{\"text\":\"hi\"}", 12.5, 13.0)),
        "{\"type\":\"event\",\"event\":{\"name\":\"chat\",\"text\":\"hi\",\"_ts\":12.5,\"currentTime\":13.0}}\n"
    );
    assert_eq!(
        text(&event_request_line(1, "chat", b"{\"text\":\"hi\",\"name\":\"x\"}")),
        "{\"id\":1,\"type\":\"request\",\"request\":{\"op\":\"event\",\"event\":{\"name\":\"chat\",\"text\":\"hi\"}}}\n"
    );
    assert_eq!(text(&missed_line(Some("chat"), 3)), "{\"type\":\"missed\",\"name\":\"chat\",\"count\":3}\n");
    assert_eq!(text(&missed_line(None, 0)), "{\"type\":\"missed\"}\n");
    assert_eq!(text(&chunk(b"0123456789abcdef")), "10\r\n0123456789abcdef\r\n");
}

#[test]
fn the_server_names_and_dates_an_event() {
    let event = |data: &str| text(&event_line("e", data.as_bytes(), 1.0, 2.0)).to_owned();
    let end = ",\"_ts\":1.0,\"currentTime\":2.0}}\n";
    let begin = "{\"type\":\"event\",\"event\":{\"name\":\"e\"";
    for (data, members) in [
        ("{}", ""),
        ("{ }", ""),
        ("{\"name\":\"other\",\"a\":1}", ",\"a\":1"),
        ("{\"n\\u0061me\":\"other\",\"_ts\":0}", ""),
        ("{\n\"a\": [1,\n2]}", ",\"a\":[1,2]"),
        ("[1,2]", ",\"data\":[1,2]"),
        ("\"{}\"", ",\"data\":\"{}\""),
        ("{\"a\":1}}", ",\"data\":null"),
        ("no JSON", ",\"data\":null"),
    ] {
        assert_eq!(event(data), format!("{begin}{members}{end}"), "{data}");
    }
    let sent = object(json!({"b": 1, "name": "a:x", "a": [2], "_ts": 3}));
    assert_eq!(publication(&sent), Some(("a", b"{\"b\":1,\"a\":[2]}".to_vec())));
    assert_eq!(publication(&object(json!({"a": 1}))), None);
    assert_eq!(publication(&object(json!({"name": 1}))), None);
}

#[test]
fn names_have_arguments() {
    let parts = |text| (EventName::new(text).name.to_owned(), EventName::new(text).arguments().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(parts("a"), ("a".to_owned(), vec![]));
    assert_eq!(parts("a:b:c"), ("a".to_owned(), vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(parts("a:"), ("a".to_owned(), vec![String::new()]));
    assert_eq!(parts(":b"), (String::new(), vec!["b".to_owned()]));
}

#[test]
fn lines_end_with_lf_or_cr_lf() {
    let bytes = b"{\"id\":1,\"type\":\"request\",\"request\":{\"op\":\"ping\"}}\r\n\r\n\n{\"id\":2,\"type\":\"request\",\"request\":{\"op\":\"ping\"}}\n{";
    for piece in [1, 7, 1000] {
        assert_eq!(all(bytes, piece, 1000), [ping(1), ping(2)]);
    }
}

#[test]
fn bad_packets_say_what_is_wrong() {
    let bad = |line: &str| parse(line.as_bytes()).unwrap_err();
    for line in ["", "1", "[]", "\u{fffd}", "{", "{}}", "{\"id\":1,}"] {
        assert_eq!(bad(line), BadPacket::NotJson, "{line}");
    }
    assert_eq!(parse(b"{\"a\":\"\xff\"}"), Err(BadPacket::NotJson));
    assert_eq!(parse(&b"[".repeat(100_000)), Err(BadPacket::NotJson));
    assert_eq!(bad("{\"id\":1}"), BadPacket::NoType { id: json!(1) });
    assert_eq!(bad("{\"id\":1,\"type\":1}"), BadPacket::NoType { id: json!(1) });
    for content in ["", ",\"request\":1", ",\"request\":{}", ",\"request\":{\"op\":1}"] {
        assert_eq!(bad(&format!("{{\"id\":\"x\",\"type\":\"request\"{content}}}")), BadPacket::Incomplete { id: json!("x") });
    }
    assert_eq!(parse(b"{\"type\":\"later\"}"), Ok(Packet::Other("later".to_owned())));
    assert_eq!(parse(b"{\"type\":\"missed\",\"count\":1}"), Ok(Packet::Missed { name: None, count: Some(1) }));
}

#[test]
fn telnet_and_endless_lines_end_it() {
    for bytes in [&b"{\"id\":1\xff\xf4\xff\xfd\x06"[..], b"\xff\xec", b"x\xff\xecy\n{}\n"] {
        for piece in [1, 100] {
            assert_eq!(all(bytes, piece, 100), [Input::Interrupt], "{bytes:?}");
        }
    }
    let mut long = vec![b' '; 100];
    long.extend_from_slice(b"\r\n");
    assert_eq!(all(&long, 1, 100), [Input::Bad(BadPacket::NotJson)]);
    long.insert(0, b' ');
    assert_eq!(all(&long, 1000, 100), [Input::TooLong]);
    assert_eq!(all(&[b' '; 102], 7, 100), [Input::TooLong]);
}

#[test]
fn a_first_line_can_be_that_of_an_http_request() {
    let bytes = b"POST /events HTTP/1.1\r\nHost: a\r\nORIGIN:  http://b \r\n\r\n{\"id\":1,\"type\":\"request\",\"request\":{\"op\":\"ping\"}}\nGET / HTTP/1.1\n";
    for piece in [1, 9, 1000] {
        let head = Head { origin: Some("http://b".to_owned()) };
        assert_eq!(all(bytes, piece, 1000), [Input::Http(head), ping(1), Input::Bad(BadPacket::NotJson)]);
    }
    for method in ["GET", "PUT"] {
        assert_eq!(all(format!("{method} / HTTP/1.0\n\n").as_bytes(), 3, 1000), [Input::Http(Head::default())]);
    }
    let mut endless = b"GET / HTTP/1.1\r\n".to_vec();
    endless.extend(b"a: b\r\n".repeat(10_000));
    assert_eq!(all(&endless, 100, 1000), [Input::TooLong]);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("name|_ts|[a-z\"\\\\\n]{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[test]
fn what_nobody_could_read_is_not_passed_on() {
    for data in [&b"{\"text\": \"\x8d\"}"[..], b"{\"n\": 1e999}", b"{\"\xff\": 1}", b"{\"a\": 1"] {
        let line = event_line("e", data, 1.0, 2.0);
        let Ok(Packet::Event(event)) = parse(&line[..line.len() - 1]) else { panic!("{}", String::from_utf8_lossy(&line)) };
        assert_eq!(event["data"], Value::Null);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(id in any::<u64>(), op in "\\PC{1,12}", fields in proptest::collection::btree_map("[a-z]{3,5}", value(), 0..4), piece in 1_usize..40) {
        let fields: Map<String, Value> = fields.into_iter().collect();
        let mut bytes = request_line(id, &op, &fields);
        bytes.extend(response_line(&id.into(), &op, &fields));
        let mut answered = object(json!({"op": op}));
        answered.extend(fields.clone());
        prop_assert_eq!(all(&bytes, piece, 1 << 20), [
            Input::Packet(Packet::Request { id: id.into(), op, fields }),
            Input::Packet(Packet::Response { id: id.into(), fields: answered }),
        ]);
    }

    #[test]
    fn an_event_is_one_packet_whatever_was_published(name in "[a-z ]{1,9}", data in value(), pretty in any::<bool>()) {
        let written = if pretty { serde_json::to_vec_pretty(&data) } else { serde_json::to_vec(&data) }.unwrap();
        let line = event_line(&name, &written, 1.5, 2.5);
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let Ok(Packet::Event(event)) = parse(&line[..line.len() - 1]) else { panic!("no event: {line:?}") };
        prop_assert_eq!(&event["name"], &json!(name));
        prop_assert_eq!((&event["_ts"], &event["currentTime"]), (&json!(1.5), &json!(2.5)));
        let expected = match data {
            Value::Object(map) => map.into_iter().filter(|(name, _)| !["name", "_ts", "currentTime"].contains(&name.as_str())).collect(),
            other => object(json!({"data": other})),
        };
        let members: Map<String, Value> = event.into_iter().filter(|(name, _)| !["name", "_ts", "currentTime"].contains(&name.as_str())).collect();
        prop_assert_eq!(members, expected);
    }

    #[test]
    fn pieces_do_not_matter_and_nothing_panics(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), Just(0xff), Just(0xec), any::<u8>()], 0..200), piece in 1_usize..20) {
        prop_assert_eq!(all(&bytes, piece, 64), all(&bytes, 1, 64));
    }
}
