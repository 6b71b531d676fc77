//! A query string or urlencoded body: taken within its limits, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::request::form::{FormLimits, FormMap, parse_urlencoded};

fuzz_target!(|bytes: &[u8]| {
    let limits = FormLimits { bytes: 4096, fields: 50, depth: 4 };
    let mut form = FormMap::new();
    if parse_urlencoded(bytes, &limits, &mut form).is_ok() {
        assert!(form.len() <= limits.fields);
        for (name, value) in form.iter() {
            assert_eq!(form.get(name), Some(value));
        }
    }
});
