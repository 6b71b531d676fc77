use super::*;

#[test]
fn the_hash_is_the_crc_of_zlib() {
    assert_eq!(crc32(b""), 0);
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn names_with_the_same_tag_are_on_one_server() {
    for (one, other) in [(&b"user[17]mail"[..], &b"[17]"[..]), (b"a[x]", b"b[x]c[y]")] {
        assert_eq!(place(one, true, 7), place(other, true, 7));
    }
    assert_eq!(tag(b"a]b[c"), None);
    assert_eq!(tag(b"a[]"), Some(&b""[..]));
    assert_eq!(place(b"a[x]", false, 1000), Some(crc32(b"a[x]") as usize % 1000));
    assert_eq!(place(b"a", true, 0), None);
}
