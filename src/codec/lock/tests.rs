use super::*;
use proptest::prelude::*;
use std::time::Duration;

/// A [`Line`] that outlives the next one.
#[derive(Debug, PartialEq)]
enum Kept {
    Text(Vec<u8>),
    TooLong,
    Interrupt,
}

fn lines(pieces: &[&[u8]]) -> Vec<Kept> {
    let mut decoder = Lines::default();
    let mut all = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(line) = decoder.pull() {
            all.push(match line {
                Line::Text(line) => text(line),
                Line::TooLong => Kept::TooLong,
                Line::Interrupt => Kept::Interrupt,
            });
        }
    }
    all
}

fn text(line: &[u8]) -> Kept {
    Kept::Text(line.to_vec())
}

#[test]
fn lines_end_with_lf_or_cr_lf_and_empty_ones_say_nothing() {
    assert_eq!(lines(&[b"acquire a\nacquire b\r", b"\n\r\n\nquit", b"\n"]), [text(b"acquire a"), text(b"acquire b"), text(b"quit")]);
}

#[test]
fn the_interrupts_of_telnet_need_no_end_of_line() {
    assert_eq!(lines(&[b"quit\n\xff\xf4\xff", b"\xfd\x06"]), [text(b"quit"), Kept::Interrupt]);
    assert_eq!(lines(&[b"\xff", b"\xec"]), [Kept::Interrupt]);
    assert_eq!(lines(&[b"acq\xff\xf4\xff\xfd\x06\r\n"]), [Kept::Interrupt]);
}

#[test]
fn a_line_too_long_is_told_once_and_skipped() {
    let long = [b'x'; MAX_LINE + 1];
    assert_eq!(lines(&[&long, &long, b"y\nquit\n"]), [Kept::TooLong, text(b"quit")]);
    assert_eq!(lines(&[&[&long[..], b"\nquit\n"].concat()]), [Kept::TooLong, text(b"quit")]);
    assert_eq!(lines(&[&long, b"\xff\xec"]), [Kept::TooLong, Kept::Interrupt]);
    assert_eq!(lines(&[&long[1..], b"\n"]), [text(&long[1..])]);
}

#[test]
fn the_commands_of_the_original() {
    let parse = |line: &'static [u8]| parse_request(line, false);
    assert_eq!(parse(b"acquire a b"), Ok(Request::Acquire { name: b"a b".into(), wait: false }));
    assert_eq!(parse(b"acquireWait \xe4"), Ok(Request::Acquire { name: b"\xe4".into(), wait: true }));
    assert_eq!(parse(b"done a"), Ok(Request::End { name: b"a".into(), done: true }));
    assert_eq!(parse(b"failed a"), Ok(Request::End { name: b"a".into(), done: false }));
    assert_eq!(parse(b"quit"), Ok(Request::Quit));
    for wrong in [&b"acquire"[..], b"acquire ", b"ACQUIRE a", b"lock a", b"ping", b"\x00"] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_commands_beyond_it() {
    let parse = |line: &'static [u8]| parse_request(line, true);
    assert_eq!(parse(b"hello 2"), Ok(Request::Hello { lasting: false, session: None }));
    let id = "hello 2 session=000102030405060708090a0b0c0d0e0f";
    assert_eq!(parse(id.as_bytes()), Ok(Request::Hello { lasting: true, session: Some(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f) }));
    let lease = Lease { lease: Some(Duration::from_secs(30)), wait: Duration::from_millis(250), shared: true, permits: None };
    assert_eq!(parse(b"lock a%20b lease=30s wait=250 shared"), Ok(Request::Lock { name: b"a b".into(), lease }));
    assert_eq!(parse(b"list"), Ok(Request::List { prefix: b"".into(), limit: 100 }));
    assert_eq!(parse(b"list job: limit=5"), Ok(Request::List { prefix: b"job:".into(), limit: 5 }));
    for wrong in
        [&b"lock"[..], b"lock a lease", b"lock a permits=0", b"lock a shared permits=2", b"lock a%2", b"renew a wait=1s", b"hello 3"]
    {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

fn any_request() -> impl Strategy<Value = Request<'static>> {
    let name = || prop::collection::vec(any::<u8>(), 1..40).prop_map(Cow::<[u8]>::Owned);
    let span = || prop::option::of((1u64..1_000_000).prop_map(Duration::from_millis));
    prop_oneof![
        (name(), span(), 0u64..100_000, prop::option::of(1u32..9)).prop_map(|(name, lease, wait, permits)| Request::Lock {
            name,
            lease: Lease { lease, wait: Duration::from_millis(wait), shared: false, permits }
        }),
        (name(), span()).prop_map(|(name, lease)| Request::Renew { name, lease }),
        name().prop_map(|name| Request::Unlock { name }),
        name().prop_map(|name| Request::Token { name }),
        any::<u128>().prop_map(|id| Request::Hello { lasting: true, session: Some(id) }),
    ]
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(request in any_request()) {
        let mut line = Vec::new();
        write_request(&request, &mut line);
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
        prop_assert_eq!(parse_request(&line, true), Ok(request));
    }

    #[test]
    fn answers_are_read_as_they_were_written(name in prop::collection::vec(any::<u8>(), 1..40), token: u64, left_ms: u64) {
        let name: Cow<'_, [u8]> = name.into();
        let lease = GrantedLease { name: name.clone(), token, left_ms };
        let entry = Entry { name: name.clone(), mode: "shared".into(), holders: 1, waiting: 2, token };
        for answer in [
            Answer::Locked(lease.clone()), Answer::Held(lease), Answer::Busy(name.clone()), Answer::Lost { name: name.clone(), token },
            Answer::Entry(entry), Answer::Hello { session: Some(7), held: 3 }, Answer::List(9), Answer::Unavailable(name),
        ] {
            let mut line = Vec::new();
            write_answer(&answer, &mut line);
            line.pop();
            prop_assert_eq!(parse_answer(&line), Some(answer));
        }
    }

    #[test]
    fn what_comes_in_pieces_is_read_as_in_one(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(0xff), Just(0xec)], 0..3000), cut in 0usize..3000) {
        let cut = cut.min(bytes.len());
        // Behind an interrupt nothing is read any more, and how much was seen before it depends on the pieces.
        let until = |lines: Vec<Kept>| lines.into_iter().take_while(|line| *line != Kept::Interrupt).collect::<Vec<_>>();
        if !is_interrupt(&bytes) {
            prop_assert_eq!(until(lines(&[&bytes[..cut], &bytes[cut..]])), until(lines(&[&bytes])));
        }
        let _ = parse_request(&bytes, true);
        let _ = parse_answer(&bytes);
    }
}
