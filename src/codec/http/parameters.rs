//! `value; name=value; name="quoted"`: the shape of `Content-Type`, `Content-Disposition` and their like (RFC 9110 §5.6.6).

use std::borrow::Cow;

use super::fields::{is_token_byte, trim_space};

/// The value in front of the parameters, and the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Parameterised<'a> {
    /// `form-data`, `text/html`; compare it without case.
    pub value: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Parameterised<'a> {
    /// Splits a field value.
    pub fn new(field: &'a [u8]) -> Self {
        let end = memchr::memchr(b';', field).unwrap_or(field.len());
        Self { value: trim_space(&field[..end]), parameters: &field[end..] }
    }

    /// The parameter of this name, its quotes taken off. The first one counts.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The well-formed parameters up to the first malformed one.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>)> {
        let mut rest = self.parameters;
        std::iter::from_fn(move || {
            loop {
                rest = trim_space(trim_space(rest).strip_prefix(b";")?);
                if !rest.starts_with(b";") {
                    break;
                }
            }
            let end = rest.iter().position(|&byte| !is_token_byte(byte))?;
            let (name, after) = rest.split_at(end);
            let after = after.strip_prefix(b"=").filter(|_| !name.is_empty())?;
            let (value, after) = match after {
                [b'"', quoted @ ..] => quoted_string(quoted)?,
                _ => {
                    let end = memchr::memchr(b';', after).unwrap_or(after.len());
                    (Cow::Borrowed(trim_space(&after[..end])), &after[end..])
                }
            };
            rest = after;
            Some((name, value))
        })
    }
}

/// Reads up to the closing quote. Only `\"` and `\\` are escapes: old browsers send Windows paths unescaped.
fn quoted_string(input: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let first = memchr::memchr2(b'"', b'\\', input)?;
    if input[first] == b'"' {
        return Some((Cow::Borrowed(&input[..first]), &input[first + 1..]));
    }
    let mut value = input[..first].to_vec();
    let mut rest = &input[first..];
    loop {
        match rest {
            [b'\\', escaped @ (b'"' | b'\\'), tail @ ..] => {
                value.push(*escaped);
                rest = tail;
            }
            [b'"', tail @ ..] => return Some((Cow::Owned(value), tail)),
            [byte, tail @ ..] => {
                value.push(*byte);
                rest = tail;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split() {
        let field = Parameterised::new(br#"form-data ; name="a;\"b\"" ;; FileName="C:\dir\x.txt"; x=y z ; broken"#);
        assert_eq!(field.value, b"form-data");
        assert_eq!(field.get("name").as_deref(), Some(&b"a;\"b\""[..]));
        assert_eq!(field.get("filename").as_deref(), Some(&br"C:\dir\x.txt"[..]));
        assert_eq!(field.get("x").as_deref(), Some(&b"y z"[..]));
        assert_eq!(field.get("broken"), None);
        assert_eq!(Parameterised::new(b"text/html").iter().count(), 0);
        assert_eq!(Parameterised::new(b"a; b=\"open").get("b"), None);
        assert_eq!(Parameterised::new(b"a; =b").iter().count(), 0);
        assert_eq!(Parameterised::new(b"").value, b"");
    }
}
