//! How many there are of a thing, in words.

/// "1 worker", "3 workers": for things whose plural is made with an s.
#[must_use]
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[test]
fn one_is_no_plural() {
    assert_eq!([0, 1, 2].map(|count| counted(count, "worker")), ["0 workers", "1 worker", "2 workers"]);
}
