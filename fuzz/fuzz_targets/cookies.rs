//! Cookies as a client sends them, and the same values set and sent back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::request::cookies::{Cookies, SetCookie};

fuzz_target!(|bytes: &[u8]| {
    for (_, value) in Cookies::parse([bytes]).iter() {
        let Ok(field) = SetCookie::new("a", value).to_field() else { continue };
        assert!(field.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        let sent = field.split(';').next().expect("a split has a first part");
        assert_eq!(Cookies::parse([sent.as_bytes()]).get("a"), Some(value));
    }
});
