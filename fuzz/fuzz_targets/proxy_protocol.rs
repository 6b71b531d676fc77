//! Announcements of proxies: what was read whole is not read from less, never takes more than there is, and what we write is read as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::proxy_protocol::{MOST, read, write_v1, write_v2};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    if let Ok(Some(announced)) = whole {
        assert!(announced.length <= bytes.len() && announced.length <= MOST);
        for length in 0..announced.length {
            assert_eq!(read(&bytes[..length]), Ok(None));
        }
        if announced.ends.is_some() {
            for write in [write_v1, write_v2] {
                let mut written = Vec::new();
                write(announced.ends, &mut written);
                let again = read(&written).expect("what we write").expect("it is whole");
                assert_eq!((again.length, again.ends), (written.len(), announced.ends));
            }
        }
    }
});
