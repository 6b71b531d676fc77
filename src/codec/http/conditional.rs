//! Conditional requests (RFC 9110 §13): whether to answer, to say "not modified", or to refuse.

use std::time::SystemTime;

use super::date;
use super::etag::{self, EntityTag};
use super::fields::Fields;
use super::method::Method;

/// What is known of the thing that was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// The entity tag, if it has one.
    pub etag: Option<EntityTag<'a>>,
    /// When it was last changed; parts of a second do not count.
    pub modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were no conditions.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412: the client did not expect it so.
    Failed,
}

/// Evaluates the conditions in the order of §13.2.2, `Range` apart. For something that exists; the caller answers
/// what does not exist, and errors, without asking here (§13.2.1).
pub fn evaluate(method: &Method, fields: &Fields, current: &Validators<'_>) -> Verdict {
    let reads = matches!(method, Method::Get | Method::Head);
    if fields.contains("if-match") {
        let matches = |tag: EntityTag<'_>| current.etag.is_some_and(|own| own.strong_eq(&tag));
        if !any_tag(fields, "if-match", matches) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date_of(fields, "if-unmodified-since"), current.modified)
        && date::seconds(modified) > date::seconds(since)
    {
        return Verdict::Failed;
    }
    if fields.contains("if-none-match") {
        let matches = |tag: EntityTag<'_>| current.etag.is_some_and(|own| own.weak_eq(&tag));
        if any_tag(fields, "if-none-match", matches) {
            return if reads { Verdict::NotModified } else { Verdict::Failed };
        }
    } else if reads
        && let (Some(since), Some(modified)) = (date_of(fields, "if-modified-since"), current.modified)
        && date::seconds(modified) <= date::seconds(since)
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a `Range` is to be honoured as far as `If-Range` goes (§13.1.5): without the field, or when what it names is
/// exactly and strongly what is current.
pub fn range_applies(fields: &Fields, current: &Validators<'_>) -> bool {
    let Some(value) = fields.get("if-range") else { return true };
    if let Some(tag) = EntityTag::parse(value) {
        return current.etag.is_some_and(|own| own.strong_eq(&tag));
    }
    match (date::parse(value), current.modified) {
        (Some(since), Some(modified)) => date::seconds(since) == date::seconds(modified),
        _ => false,
    }
}

fn any_tag(fields: &Fields, name: &str, matches: impl Fn(EntityTag<'_>) -> bool) -> bool {
    fields.get_all(name).any(|value| value == b"*" || etag::list(value).any(&matches))
}

fn date_of(fields: &Fields, name: &str) -> Option<SystemTime> {
    date::parse(fields.get(name)?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 08:49:37, and what is current.
    fn current() -> Validators<'static> {
        let modified = UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        Validators { etag: EntityTag::parse(b"\"now\""), modified: Some(modified) }
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name, value).unwrap();
        }
        fields
    }

    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn conditions_are_evaluated_in_order() {
        use Verdict::{Failed, NotModified, Proceed};
        for (pairs, get, put) in [
            (&[][..], Proceed, Proceed),
            (&[("if-match", "\"now\"")], Proceed, Proceed),
            (&[("if-match", "\"old\", \"now\"")], Proceed, Proceed),
            (&[("if-match", "*")], Proceed, Proceed),
            (&[("if-match", "W/\"now\"")], Failed, Failed),
            (&[("if-match", "\"old\"")], Failed, Failed),
            (&[("if-match", "nonsense")], Failed, Failed),
            (&[("if-match", "\"now\""), ("if-unmodified-since", BEFORE)], Proceed, Proceed),
            (&[("if-unmodified-since", SAME)], Proceed, Proceed),
            (&[("if-unmodified-since", BEFORE)], Failed, Failed),
            (&[("if-unmodified-since", "nonsense")], Proceed, Proceed),
            (&[("if-none-match", "\"now\"")], NotModified, Failed),
            (&[("if-none-match", "W/\"now\"")], NotModified, Failed),
            (&[("if-none-match", "\"a\""), ("if-none-match", "\"now\"")], NotModified, Failed),
            (&[("if-none-match", "*")], NotModified, Failed),
            (&[("if-none-match", "\"old\"")], Proceed, Proceed),
            (&[("if-none-match", "\"old\""), ("if-modified-since", SAME)], Proceed, Proceed),
            (&[("if-modified-since", SAME)], NotModified, Proceed),
            (&[("if-modified-since", BEFORE)], Proceed, Proceed),
            (&[("if-modified-since", "nonsense")], Proceed, Proceed),
            (&[("if-match", "\"old\""), ("if-none-match", "\"now\"")], Failed, Failed),
        ] {
            let fields = fields(pairs);
            assert_eq!(evaluate(&Method::Get, &fields, &current()), get, "GET {pairs:?}");
            assert_eq!(evaluate(&Method::Head, &fields, &current()), get, "HEAD {pairs:?}");
            assert_eq!(evaluate(&Method::Put, &fields, &current()), put, "PUT {pairs:?}");
        }
    }

    #[test]
    fn if_range_wants_the_very_same() {
        for (value, applies) in
            [("\"now\"", true), ("W/\"now\"", false), ("\"old\"", false), (SAME, true), (BEFORE, false), ("nonsense", false)]
        {
            assert_eq!(range_applies(&fields(&[("if-range", value)]), &current()), applies, "{value}");
        }
        assert!(range_applies(&fields(&[]), &current()));
        let weak = Validators { etag: EntityTag::parse(b"W/\"now\""), modified: None };
        assert!(!range_applies(&fields(&[("if-range", "W/\"now\"")]), &weak));
    }
}
