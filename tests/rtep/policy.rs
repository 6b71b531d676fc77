//! The policy file of Flash.

use std::time::Duration;

use crate::peer::{Peer, ends_within};
use crate::start;
use crate::support::wait;

const REQUEST: &[u8] = b"<policy-file-request/>\0";

#[test]
fn the_policy_is_given_and_followed() {
    let rtep = start(1, "", "", None);
    let ask = || {
        let mut peer = Peer::connect(rtep.policy);
        peer.send(REQUEST);
        peer
    };
    let mut none = ask();
    none.expect(b"<error/>\0");
    none.expect_end();
    for text in
        ["<cross-domain-policy/>", "<cross-domain-policy>\n<allow-access-from domain=\"*\" to-ports=\"844\"/>\n</cross-domain-policy>\n"]
    {
        rtep.skep.site.write("crossdomain.xml", text);
        let expected = [text.as_bytes(), b"\0"].concat();
        wait::until("the new policy", || {
            use std::io::Read as _;
            let mut got = Vec::new();
            ask().stream.read_to_end(&mut got).expect("an answer");
            got == expected
        });
    }
    // In pieces, and followed by something else.
    let mut slow = Peer::connect(rtep.policy);
    slow.send(&REQUEST[..5]);
    slow.send(&REQUEST[5..]);
    slow.expect("<cross-domain-policy>\n");
    let mut other = Peer::connect(rtep.policy);
    other.send(b"GET / HTTP/1.1\r\n\r\n");
    assert!(ends_within(&mut other.stream, Duration::from_secs(5)));
}

#[test]
fn who_says_nothing_keeps_nobody_from_being_served() {
    let rtep = start(1, "", "", None);
    rtep.skep.site.write("crossdomain.xml", "<policy/>");
    // Four may be open at the same time.
    let mut silent: Vec<Peer> = (0..20).map(|_| Peer::connect(rtep.policy)).collect();
    let mut peer = Peer::connect(rtep.policy);
    peer.send(REQUEST);
    assert!(peer.line().is_none());
    for peer in &mut silent {
        assert!(ends_within(&mut peer.stream, Duration::from_secs(5)), "a silent connection ends by itself");
    }
}
