//! What proxies say of where a request came from. What is added at the right is what is read first, whatever stands in front of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::http::forwarded::{Element, address, items_from_right};

fuzz_target!(|input: &[u8]| {
    assert!(items_from_right(input).count() <= input.len() + 1);
    for element in Element::all_from_right(input) {
        let _ = (element.client(), element.proto(), element.host());
    }
    if let Some(read) = address(input) {
        assert_eq!(address(read.to_string().as_bytes()), Some(read));
    }
    let whole = [input, b", for=192.0.2.1;proto=https"].concat();
    let first = Element::all_from_right(&whole).next().expect("what was added");
    assert_eq!(first.client().map(|client| client.to_string()).as_deref(), Some("192.0.2.1:0"));
    assert_eq!(first.proto().as_deref(), Some(&b"https"[..]));
});
