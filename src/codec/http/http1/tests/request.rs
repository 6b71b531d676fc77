use proptest::prelude::*;

use crate::codec::http::http1::{
    BodyFraming, HeadError, HeadLimits, MAX_FIELDS, Parsed, ParsedRequest, RequestParser, Usual, parse_request,
};
use crate::codec::http::{Method, TargetError, Version};

fn parse(bytes: &[u8]) -> Result<Option<ParsedRequest>, HeadError> {
    parse_request(bytes, &HeadLimits::default()).map(|parsed| match parsed {
        Parsed::Partial => None,
        Parsed::Complete(request) => Some(request),
    })
}

fn good(text: &str) -> ParsedRequest {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}")).unwrap_or_else(|| panic!("{text:?}: partial"))
}

#[test]
fn a_browser_request_is_understood() {
    let text = "GET /a%20b?x=1 HTTP/1.1\r\nHost: example.com:8047\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\
                Accept: */*\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\nGET /next";
    let parsed = good(text);
    assert_eq!(parsed.head.method, Method::Get);
    assert_eq!(parsed.head.version, Version::Http11);
    assert_eq!(parsed.head.target(), "/a%20b?x=1");
    assert_eq!(parsed.head.path(), "/a%20b");
    assert_eq!(parsed.head.query(), Some("x=1"));
    assert_eq!(parsed.head.authority(), Some("example.com:8047"));
    assert_eq!(parsed.head.fields.get_str("user-agent"), Some("Mozilla/5.0 (X11)"));
    assert_eq!(parsed.head.fields.len(), 5);
    assert_eq!(&text[parsed.consumed..], "GET /next");
    assert_eq!(parsed.framing, BodyFraming::None);
    assert!(parsed.keep_alive);
    assert!(!parsed.expect_continue);
}

#[test]
fn the_life_of_the_connection_follows_version_and_connection_field() {
    for (version, field, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Upgrade, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let parsed = good(&format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n"));
        assert_eq!(parsed.keep_alive, keep, "{version} {field:?}");
    }
}

#[test]
fn bodies_are_framed() {
    let framing = |fields: &str| good(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).framing;
    assert_eq!(framing(""), BodyFraming::None);
    assert_eq!(framing("Content-Length: 0\r\n"), BodyFraming::Length(0));
    assert_eq!(framing("content-length:12\r\n"), BodyFraming::Length(12));
    assert_eq!(framing("Transfer-Encoding: Chunked \r\n"), BodyFraming::Chunked);
}

#[test]
fn only_a_body_makes_a_client_wait_for_100() {
    let expects = |rest: &str| good(&format!("POST / HTTP/{rest}\r\n\r\n")).expect_continue;
    assert!(expects("1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1"));
    assert!(expects("1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked"));
    assert!(!expects("1.1\r\nHost: a\r\nExpect: 100-continue"));
    assert!(!expects("1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0"));
    assert!(!expects("1.0\r\nExpect: 100-continue\r\nContent-Length: 1"));
    assert!(!expects("1.0\r\nExpect: something\r\nContent-Length: 1"));
}

#[test]
fn the_absolute_form_overrides_host() {
    let parsed = good("GET http://b.example:81/x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((parsed.head.authority(), parsed.head.host()), (Some("b.example:81"), Some("b.example")));
    assert_eq!(good("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").head.path(), "*");
}

#[test]
fn odd_but_harmless_input_is_accepted() {
    for text in [
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /?a|b{c}\"<> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\t[::1]:80 \r\nX-Empty:\r\nX-Blank: \t \r\nX-Tab: a\tb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Latin: \u{fc}\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        good(text);
    }
    assert_eq!(good("BREW / HTTP/1.1\r\nHost: a\r\n\r\n").head.method, Method::Other("BREW".into()));
}

/// Name, bytes, and what they are refused as.
const REFUSED: &[(&str, &str, HeadError)] = &[
    ("two empty lines in front", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::EmptyLines),
    ("bare LF in front", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareLineFeed),
    ("bare CR in front", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareCarriageReturn),
    ("bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::BareLineFeed),
    ("bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", HeadError::BareLineFeed),
    ("bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::BareLineFeed),
    ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", HeadError::BareCarriageReturn),
    ("bare CR in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\rY: b\r\n\r\n", HeadError::BareCarriageReturn),
    ("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", HeadError::BareCarriageReturn),
    ("TLS handshake", "\u{16}\u{3}\u{1}", HeadError::MethodCharacter),
    ("space in front", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::MethodCharacter),
    ("method with a colon", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::MethodCharacter),
    ("tab after the method", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::MethodCharacter),
    ("two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("no version", "GET /\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("version with two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", HeadError::Version),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", HeadError::Version),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version),
    ("control character in the target", "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Character)),
    ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Character)),
    ("fragment", "GET /#top HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Character)),
    ("relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Form)),
    ("asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Form)),
    ("authority form for GET", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Form)),
    ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", HeadError::ConnectUnsupported),
    ("CONNECT with a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Form)),
    ("user in an absolute target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Authority)),
    ("space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::SpaceBeforeColon),
    ("tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n", HeadError::SpaceBeforeColon),
    ("space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", HeadError::FieldName),
    ("no name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", HeadError::FieldName),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", HeadError::FieldName),
    ("non-ASCII name", "GET / HTTP/1.1\r\nHost: a\r\n\u{fc}: b\r\n\r\n", HeadError::FieldName),
    ("folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", HeadError::FoldedField),
    ("folded by a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", HeadError::FoldedField),
    ("space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::FoldedField),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", HeadError::FieldValue),
    ("DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n", HeadError::FieldValue),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", HeadError::HostMissing),
    ("no Host with an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", HeadError::HostMissing),
    ("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", HeadError::HostInvalid),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::HostRepeated),
    ("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", HeadError::HostRepeated),
    ("Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HeadError::HostInvalid),
    ("Host with a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HeadError::HostInvalid),
    ("Host with a bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", HeadError::HostInvalid),
    ("Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HeadError::HostInvalid),
    ("repeated Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HeadError::BadLength),
    ("conflicting Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HeadError::BadLength),
    ("Content-Length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", HeadError::BadLength),
    ("signed Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", HeadError::BadLength),
    ("negative Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", HeadError::BadLength),
    ("hexadecimal Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", HeadError::BadLength),
    ("empty Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", HeadError::BadLength),
    ("huge Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", HeadError::BadLength),
    ("both lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::LengthAndCoding),
    (
        "both lengths, bad coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n",
        HeadError::LengthAndCoding,
    ),
    ("unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::UnknownCoding),
    ("chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", HeadError::UnknownCoding),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        HeadError::UnknownCoding,
    ),
    ("quoted chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", HeadError::UnknownCoding),
    ("chunked with vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", HeadError::FieldValue),
    ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", HeadError::UnknownCoding),
    ("empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", HeadError::UnknownCoding),
    ("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::CodingInOldVersion),
    ("unknown expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", HeadError::UnknownExpectation),
];

#[test]
fn ambiguous_input_is_refused_with_the_right_words() {
    for (name, text, error) in REFUSED {
        assert_eq!(parse(text.as_bytes()).err(), Some(*error), "{name}");
    }
}

#[test]
fn errors_have_their_status() {
    for (error, status) in [
        (HeadError::BareLineFeed, 400),
        (HeadError::HostMissing, 400),
        (HeadError::LengthAndCoding, 400),
        (HeadError::CodingInOldVersion, 400),
        (HeadError::LineTooLong, 414),
        (HeadError::UnknownExpectation, 417),
        (HeadError::FieldTooLong, 431),
        (HeadError::TooManyFields, 431),
        (HeadError::HeadTooLarge, 431),
        (HeadError::UnknownCoding, 501),
        (HeadError::ConnectUnsupported, 501),
        (HeadError::MethodTooLong, 501),
        (HeadError::Version, 505),
    ] {
        assert_eq!(error.status(), status, "{error:?}");
    }
}

#[test]
fn limits_hold_exactly() {
    let limits = HeadLimits { line: 20, field: 10, fields: 2, total: 60 };
    let refused = |text: &str| parse_request(text.as_bytes(), &limits).err();
    assert_eq!(refused("GET /123456 HTTP/1.0\r\n\r\n"), None);
    assert_eq!(refused("GET /1234567 HTTP/1.0\r\n\r\n"), Some(HeadError::LineTooLong));
    assert_eq!(refused("GET /123456789012345678"), Some(HeadError::LineTooLong));
    assert_eq!(refused("GET / HTTP/1.0\r\nA: 3456789\r\n\r\n"), None);
    assert_eq!(refused("GET / HTTP/1.0\r\nA: 34567890\r\n\r\n"), Some(HeadError::FieldTooLong));
    assert_eq!(refused("GET / HTTP/1.0\r\nA: 1\r\nB: 2\r\n\r\n"), None);
    assert_eq!(refused("GET / HTTP/1.0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n"), Some(HeadError::TooManyFields));
    let wide = HeadLimits { fields: 1000, ..limits };
    let head = "GET / HTTP/1.0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n";
    assert_eq!(head.len(), 54);
    assert!(parse_request(head.as_bytes(), &HeadLimits { total: 54, ..wide }).is_ok());
    assert_eq!(parse_request(head.as_bytes(), &HeadLimits { total: 53, ..wide }).err(), Some(HeadError::HeadTooLarge));
    let many = "A: 1\r\n".repeat(MAX_FIELDS + 1);
    let huge = HeadLimits { line: 100, field: 100, fields: 100_000, total: 100_000 };
    assert_eq!(parse_request(format!("GET / HTTP/1.0\r\n{many}\r\n").as_bytes(), &huge).err(), Some(HeadError::TooManyFields));
    assert_eq!(parse("A".repeat(65).as_bytes()).err(), Some(HeadError::MethodTooLong));
}

/// Feeds `bytes` cut at the given places to one parser.
fn parse_in_pieces(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Result<Option<usize>, HeadError> {
    let mut parser = RequestParser::new(HeadLimits::default());
    for cut in cuts.into_iter().chain([bytes.len()]) {
        if let Parsed::Complete(parsed) = parser.parse(&bytes[..cut])? {
            return Ok(Some(parsed.consumed));
        }
    }
    Ok(None)
}

#[test]
fn splits_make_no_difference() {
    let whole = "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Other: y\r\n\r\n";
    let texts = REFUSED.iter().map(|(_, text, _)| *text).chain([whole]);
    for text in texts {
        let bytes = text.as_bytes();
        let expected = parse(bytes).map(|parsed| parsed.map(|request| request.consumed));
        for cut in 0..bytes.len() {
            assert_eq!(parse_in_pieces(bytes, [cut]), expected, "{text:?} at {cut}");
        }
        assert_eq!(parse_in_pieces(bytes, 0..bytes.len()), expected, "{text:?} byte by byte");
    }
}

#[test]
fn pipelined_requests_come_one_by_one() {
    let bytes = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /22 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut parser = RequestParser::new(HeadLimits::default());
    let mut rest = &bytes[..];
    let mut paths = Vec::new();
    while let Parsed::Complete(parsed) = parser.parse(rest).unwrap() {
        paths.push(parsed.head.path().to_owned());
        rest = &rest[parsed.consumed..];
    }
    assert_eq!(paths, ["/1", "/22", "/3"]);
    assert!(rest.is_empty());
}

fn head_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET "),
        Just("POST "),
        Just("/"),
        Just("*"),
        Just("http://a"),
        Just(" HTTP/1.1"),
        Just(" HTTP/1.0"),
        Just("\r\n"),
        Just("\r\n\r\n"),
        Just("\n"),
        Just("\r"),
        Just("Host: a\r\n"),
        Just("Content-Length: 1\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just(" "),
        Just("\t"),
        Just(":"),
        Just("X: y\r\n"),
        Just("\0"),
        Just("\u{fc}"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

/// A head that is as it should be, but for at most two bytes.
fn nearly_usual() -> impl Strategy<Value = Vec<u8>> {
    let name = "[A-Za-z-]{1,12}|Host|Content-Length|Connection|Expect|Transfer-Encoding|Upgrade";
    let value = "[ \\t]{0,2}[ -~\\t\u{fc}]{0,24}|chunked|close|keep-alive|[0-9]{1,3}|100-continue";
    let field = (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = (
        "GET|POST|HEAD|PUT|DELETE|PATCH",
        "(/[!-~]{0,4}){1,4}(\\?[!-~]{0,8})?",
        prop::collection::vec(field, 0..4),
        prop_oneof![Just(""), Just("Host: a.example:80\r\n")],
        prop_oneof![Just(""), Just("GET / HTTP/1.1\r\n"), Just("\0\n")],
    );
    let text = head.prop_map(|(method, target, fields, host, more)| {
        format!("{method} {target} HTTP/1.1\r\n{host}{}\r\n{more}", fields.concat()).into_bytes()
    });
    (text, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(|(mut text, changes)| {
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        text
    })
}

/// What a head says, as far as it is acted on.
fn meaning(parsed: &ParsedRequest) -> impl PartialEq + std::fmt::Debug + use<> {
    let head = &parsed.head;
    let fields: Vec<_> = head.fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    let target = (head.target().to_owned(), head.path().to_owned(), head.query().map(str::to_owned), head.authority().map(str::to_owned));
    let life = (head.has_plain_path(), parsed.framing, parsed.keep_alive, parsed.expect_continue, parsed.upgrade);
    (head.method.clone(), head.version, target, fields, life)
}

/// How many usual heads the short way has to read among those of the property test below: it would hold too if none were read.
#[test]
fn the_usual_is_read_at_once() {
    for text in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /a?b=c HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX:\ty \r\n\r\nab"] {
        let parsed = Usual::read(text.as_bytes(), &HeadLimits::default()).and_then(Usual::into_request).unwrap();
        assert_eq!(parsed.consumed, text.find("\r\n\r\n").unwrap() + 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_short_way_reads_what_the_long_way_reads(bytes in prop_oneof![4 => nearly_usual(), 1 => head_like()], most in 1usize..80) {
        let small = HeadLimits { line: most, field: most, fields: most % 5, total: most * 2 };
        for limits in [HeadLimits::default(), small] {
            if let Some(short) = Usual::read(&bytes, &limits).and_then(Usual::into_request) {
                // An empty line in front leads the long way.
                let limits = HeadLimits { total: limits.total + 2, ..limits };
                let Ok(Parsed::Complete(long)) = RequestParser::new(limits).parse(&[b"\r\n", &bytes[..]].concat()) else {
                    return Err(TestCaseError::fail("only the short way takes it"));
                };
                prop_assert_eq!(short.consumed + 2, long.consumed);
                prop_assert_eq!(meaning(&short), meaning(&long));
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_split_anywhere_give_one_verdict(bytes in head_like(), cut in any::<prop::sample::Index>()) {
        let expected = parse(&bytes).map(|parsed| parsed.map(|request| request.consumed));
        let cut = cut.index(bytes.len() + 1);
        prop_assert_eq!(parse_in_pieces(&bytes, [cut]), expected);
        prop_assert_eq!(parse_in_pieces(&bytes, 0..bytes.len()), expected);
    }

    #[test]
    fn what_is_written_is_read_back(
        path in "/[a-z0-9/._~-]{0,20}",
        fields in prop::collection::vec(("x-[a-z0-9-]{1,10}", "([!-~]([ -~]{0,10}[!-~])?)?"), 0..10),
    ) {
        let mut head = crate::codec::http::RequestHead::new(Method::Put, &path, Version::Http11).unwrap();
        head.fields.push("host", "a.example").unwrap();
        for (name, value) in &fields {
            head.fields.push(name, value).unwrap();
        }
        let mut bytes = Vec::new();
        crate::codec::http::http1::write::write_request_head(&head, &mut bytes);
        let parsed = parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(parsed.consumed, bytes.len());
        prop_assert_eq!(parsed.head.path(), path);
        let read: Vec<_> = parsed.head.fields.iter().skip(1).map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned())).collect();
        prop_assert_eq!(read, fields);
    }
}
