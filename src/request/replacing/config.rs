//! What is replaced in answers, as the configuration says it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::http::fields::check_field;

/// Strings that are replaced in the bodies of a route's answers: docs/replace.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replace {
    /// What is replaced, and by what: `{"http://old.example": "https://new.example"}`. Of strings that begin at the same place the longest counts; what was
    /// put in is not looked at again. At most 64, each of at most 256 bytes, replaced by at most 16 KiB.
    pub strings: BTreeMap<String, String>,
    /// Content types whose answers are looked at, without parameters, in lower case.
    pub types: Vec<String>,
    /// Header fields in whose values the strings are replaced too, such as `"Location"`.
    pub fields: Vec<String>,
    /// Whether upper and lower case (of ASCII) are the same when a string is looked for.
    pub ignore_case: bool,
    /// Whether only the first string that is found in a body is replaced.
    pub once: bool,
}

impl Default for Replace {
    fn default() -> Self {
        Self { strings: BTreeMap::new(), types: vec!["text/html".to_owned()], fields: Vec::new(), ignore_case: false, once: false }
    }
}

/// Strings of one route, and how long they and what takes their place may be.
const MOST: usize = 64;
const LONGEST: usize = 256;
const LONGEST_REPLACEMENT: usize = 16 << 10;

impl Replace {
    /// What cannot be, in words.
    #[must_use]
    pub fn nonsense(&self) -> Option<String> {
        if self.strings.is_empty() {
            return Some("nothing is replaced: `replace` needs `strings`, as in (strings: {\"old\": \"new\"})".to_owned());
        }
        if self.strings.len() > MOST {
            return Some(format!("{} strings are too many: at most {MOST}", self.strings.len()));
        }
        let long = |(from, to): &(&String, &String)| !(1..=LONGEST).contains(&from.len()) || to.len() > LONGEST_REPLACEMENT;
        if let Some((from, _)) = self.strings.iter().find(long) {
            let from: String = from.chars().take(40).collect();
            return Some(format!(
                "the string {from:?} cannot be replaced: it has 1 to {LONGEST} bytes, and what takes its place at most {LONGEST_REPLACEMENT}"
            ));
        }
        let mut folded: Vec<String> = self.strings.keys().map(|from| from.to_ascii_lowercase()).collect();
        folded.sort_unstable();
        if self.ignore_case
            && let Some(twice) = folded.windows(2).find(|pair| pair[0] == pair[1])
        {
            return Some(format!("the string {:?} stands twice, where upper and lower case are the same", twice[0]));
        }
        if let Some(name) = self.fields.iter().find(|name| !is_changeable(name)) {
            return Some(format!("the field `{name}` cannot be changed: it is no name, or one that frames a message"));
        }
        if !self.fields.is_empty()
            && let Some((from, _)) = self.strings.iter().find(|(_, to)| check_field(b"x", to.as_bytes()).is_err())
        {
            return Some(format!(
                "what takes the place of {from:?} cannot stand in a header field: it has line breaks or control characters"
            ));
        }
        None
    }
}

/// Whether the values of a field may be changed.
fn is_changeable(name: &str) -> bool {
    check_field(name.as_bytes(), b"").is_ok() && !super::super::headers::is_of_the_server(name)
}
