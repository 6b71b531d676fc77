//! Header and trailer fields (RFC 9110 §5): one buffer of bytes and spans into it, so that a whole head costs one copy.

use std::cell::RefCell;
use std::fmt;

/// A range of the buffer. 32 bits suffice: heads are bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The caller keeps `start + len` below 4 GiB; what does not fit becomes an empty span.
    pub(super) fn new(start: usize, len: usize) -> Self {
        match (u32::try_from(start), u32::try_from(len)) {
            (Ok(start), Ok(len)) => Self { start, len },
            _ => Self::default(),
        }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start + self.len as usize).unwrap_or_default()
    }

    pub(super) fn of_str(self, text: &str) -> &str {
        let start = self.start as usize;
        text.get(start..start + self.len as usize).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    value: Span,
}

/// Fields in the order they came. Names are lower-case, values have no white space around them.
#[derive(Clone, Default)]
pub struct Fields {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Buffers kept for the next heads.
const POOLED: usize = 64;
/// Larger ones are not kept.
const POOLED_BYTES: usize = 4 << 10;

/// The buffers of fields that are gone.
type Buffers = (Vec<u8>, Vec<Entry>);

thread_local! {
    static POOL: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Fields {
    fn drop(&mut self) {
        let (bytes, entries) = (self.arena.capacity(), self.entries.capacity());
        if bytes + entries == 0 || bytes > POOLED_BYTES || entries > POOLED_BYTES / size_of::<Entry>() {
            return;
        }
        self.clear();
        let buffers = (std::mem::take(&mut self.arena), std::mem::take(&mut self.entries));
        // After the thread's end there is no pool, and the buffers are just freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(buffers);
            }
        });
    }
}

/// Why a field cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// The name is empty or has a character outside `token` (RFC 9110 §5.6.2).
    Name,
    /// The value has a CR, LF, NUL or another control character: it could smuggle further fields in.
    Value,
    /// The fields together passed 16 MiB.
    Size,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a header name may have only letters, digits and !#$%&'*+-.^_`|~",
            Self::Value => "a header value must not have line breaks or control characters",
            Self::Size => "the header fields are larger than 16 MiB",
        })
    }
}

impl std::error::Error for FieldError {}

/// All fields of one message together, in bytes; keeps spans far from their limit.
const MAX_ARENA: usize = 16 << 20;

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// No fields, in buffers that others have used before.
    pub(super) fn pooled() -> Self {
        let (arena, entries) = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        Self { arena, entries }
    }

    /// Names the next field within the lines that [`Fields::fill`] then gets.
    pub(super) fn announce(&mut self, name: Span, value: Span) {
        self.entries.push(Entry { name, value });
    }

    /// Takes a copy of the lines of a head, and brings the names in them into lower case.
    pub(super) fn fill(&mut self, lines: &[u8]) {
        self.arena.extend_from_slice(lines);
        for entry in &self.entries {
            let start = entry.name.start as usize;
            if let Some(name) = self.arena.get_mut(start..start + entry.name.len as usize) {
                name.make_ascii_lowercase();
            }
        }
    }

    pub(super) fn slice(&self, span: Span) -> &[u8] {
        span.of(&self.arena)
    }

    /// Adds a field after the others.
    ///
    /// # Errors
    /// A name that is no token, a value with control characters other than tab; nothing is added then.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        let value = trim_space(value.as_ref());
        check_name(name.as_bytes())?;
        check_value(value)?;
        if self.arena.len() + name.len() + value.len() > MAX_ARENA {
            return Err(FieldError::Size);
        }
        let name_span = Span::new(self.arena.len(), name.len());
        self.arena.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        let value_span = Span::new(self.arena.len(), value.len());
        self.arena.extend_from_slice(value);
        self.entries.push(Entry { name: name_span, value: value_span });
        Ok(())
    }

    /// Replaces every field of this name by one.
    ///
    /// # Errors
    /// As [`Fields::push`]; the old fields stay then.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        let before = self.entries.len();
        self.push(name, value)?;
        let Self { arena, entries } = self;
        let mut index = 0;
        entries.retain(|entry| {
            index += 1;
            index > before || !entry.name.of(arena).eq_ignore_ascii_case(name.as_bytes())
        });
        Ok(())
    }

    /// The value of the first field of this name, in any case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// [`Fields::get`] as text; `None` also when the value is not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all fields of this name, in order.
    pub fn get_all<'s, 'n>(&'s self, name: &'n str) -> impl Iterator<Item = &'s [u8]> + use<'s, 'n> {
        self.entries
            .iter()
            .filter(move |entry| entry.name.len as usize == name.len() && entry.name.of(&self.arena).eq_ignore_ascii_case(name.as_bytes()))
            .map(|entry| entry.value.of(&self.arena))
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a comma-separated list field has this token, in any case (`connection` has `upgrade`).
    pub fn contains_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name).any(|value| list_items(value).any(|item| item.eq_ignore_ascii_case(token.as_bytes())))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|entry| {
            // Names are checked to be tokens, so they are ASCII.
            let name = std::str::from_utf8(entry.name.of(&self.arena)).unwrap_or_default();
            (name, entry.value.of(&self.arena))
        })
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| entry.name.of(&self.arena))
    }

    /// Removes every field of this name; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        let Self { arena, entries } = self;
        entries.retain(|entry| !entry.name.of(arena).eq_ignore_ascii_case(name.as_bytes()));
        self.entries.len() != before
    }

    /// Removes all fields and keeps the buffer.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.arena.clear();
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Fields {
    /// Names only: values may be cookies and credentials, and what is debug-printed ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// The items of a comma-separated list (RFC 9110 §5.6.1), without the empty ones. Quoted strings are not understood.
pub fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// The value without optional white space around it (RFC 9110 §5.6.3); line breaks are not white space here.
pub(super) fn trim_space(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let c = byte as u8;
            table[byte] = c.is_ascii_alphanumeric()
                || matches!(c, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
            byte += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

/// Refuses what is no field name.
pub(super) fn check_name(name: &[u8]) -> Result<(), FieldError> {
    if !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte)) { Ok(()) } else { Err(FieldError::Name) }
}

/// Whether a field can be sent: for who writes fields itself.
///
/// # Errors
/// [`FieldError::Name`] and [`FieldError::Value`].
pub fn check_field(name: &[u8], value: &[u8]) -> Result<(), FieldError> {
    check_name(name)?;
    check_value(value)
}

/// Refuses control characters other than tab.
pub(super) fn check_value(value: &[u8]) -> Result<(), FieldError> {
    let control = |&byte: &u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    if value.iter().any(control) { Err(FieldError::Value) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case_and_in_order() {
        let mut fields = Fields::new();
        fields.push("Accept", "a").unwrap();
        fields.push("X-One", "  spaced\t").unwrap();
        fields.push("ACCEPT", b"b\xff").unwrap();
        assert_eq!(fields.get("accept"), Some(&b"a"[..]));
        assert_eq!(fields.get_all("Accept").collect::<Vec<_>>(), [&b"a"[..], b"b\xff"]);
        assert_eq!(fields.get_str("x-one"), Some("spaced"));
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["accept", "x-one", "accept"]);
        fields.set("accept", "c").unwrap();
        assert_eq!(fields.get_all("accept").collect::<Vec<_>>(), [&b"c"[..]]);
        assert!(fields.remove("X-One"));
        assert!(!fields.remove("X-One"));
        assert_eq!(fields.len(), 1);
        fields.clear();
        assert!(fields.is_empty());
    }

    #[test]
    fn tokens_are_compared_without_case() {
        let mut fields = Fields::new();
        fields.push("Connection", "keep-alive, Upgrade ,").unwrap();
        assert!(fields.contains_token("connection", "upgrade"));
        assert!(fields.contains_token("connection", "Keep-Alive"));
        assert!(!fields.contains_token("connection", "close"));
        assert!(!fields.contains_token("connection", ""));
    }

    #[test]
    fn injection_is_refused() {
        let mut fields = Fields::new();
        for name in ["", "a b", "a:", "a\r\nb", "ü", "a\0"] {
            assert_eq!(fields.push(name, "x"), Err(FieldError::Name), "{name:?}");
        }
        for value in ["a\n", "\ra", "a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "a\x7fb"] {
            assert_eq!(fields.push("x", value), Err(FieldError::Value), "{value:?}");
        }
        assert_eq!(fields.set("x", "a\nb"), Err(FieldError::Value));
        assert!(fields.is_empty());
        fields.push("x", "tab\tinside").unwrap();
    }

    #[test]
    fn values_stay_out_of_debug_output() {
        let mut fields = Fields::new();
        fields.push("authorization", "Basic secret").unwrap();
        assert_eq!(format!("{fields:?}"), r#"["authorization"]"#);
    }
}
