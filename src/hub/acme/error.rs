//! What goes wrong with an order, in words that say what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;

use crate::clients::http::HttpError;

/// How all types of problems begin (RFC 8555 §6.7).
const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// Why there is no certificate.
#[derive(Debug)]
pub(super) enum AcmeError {
    /// The authority cannot be reached, or does not speak HTTP.
    Http(HttpError),
    /// It refuses.
    Refused(Problem, Option<Duration>),
    /// It says what no authority says; what that is.
    Unexpected(String),
    /// It asks in no way that we can answer for this name.
    NoChallenge(String, &'static str),
    /// It has looked, and this name does not lead here as it should.
    NotShown(String, Problem),
    /// It does not come to an end.
    TooSlow(&'static str),
    /// What must be kept cannot be, or read.
    Files(io::Error, String),
    /// A key or a request for a certificate cannot be made.
    Crypto(&'static str),
}

/// What an authority says of an error (RFC 7807, RFC 8555 §6.7).
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Problem {
    /// Which one it is.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    /// In words.
    #[serde(default)]
    pub(super) detail: String,
    /// One for each name (§6.7.1).
    #[serde(default)]
    pub(super) subproblems: Vec<Problem>,
}

impl Problem {
    /// Its name in the namespace of ACME.
    pub(super) fn name(&self) -> &str {
        self.kind.strip_prefix(NAMESPACE).unwrap_or(&self.kind)
    }

    /// What the operator can do about it.
    fn advice(&self) -> Option<&'static str> {
        Some(match self.name() {
            "connection" => {
                "port 80 must be open from outside and lead to a server of the kind `Http` here (with the challenge TlsAlpn01: port 443, to one with TLS)"
            }
            "dns" => "the name must have an A or AAAA record that leads to this machine",
            "unauthorized" | "incorrectResponse" => "the name leads to another machine, or something before this one answers in its place",
            "caa" => "the CAA record of the name allows other authorities only",
            "rateLimited" => "too many orders of late: it is tried again when the authority allows it",
            "rejectedIdentifier" | "unsupportedIdentifier" => "the authority gives no certificate for that name: take it out of `domains`",
            "invalidContact" | "unsupportedContact" => "`contact` must be an address that mail reaches",
            "userActionRequired" => "read the authority's terms of service again",
            "externalAccountRequired" => {
                "the authority wants an account that is made elsewhere, which is not supported: choose another `directory`"
            }
            "accountDoesNotExist" | "unauthorizedAccount" => {
                "the account was closed: delete its key in the data directory, and another is made"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail.trim())?;
        if !self.name().is_empty() {
            write!(f, " ({})", self.name())?;
        }
        for problem in &self.subproblems {
            write!(f, "; {} ({})", problem.detail.trim(), problem.name())?;
        }
        match self.advice().or_else(|| self.subproblems.iter().find_map(Problem::advice)) {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

impl AcmeError {
    /// How long the authority wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(_, after) => *after,
            _ => None,
        }
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => write!(f, "the authority cannot be reached: {error}"),
            Self::Refused(problem, _) => write!(f, "the authority refuses: {problem}"),
            Self::Unexpected(what) => write!(f, "this is no ACME authority, or it is out of order: {what}"),
            Self::NoChallenge(name, kind) => write!(f, "{name}: the authority offers no challenge {kind} for it"),
            Self::NotShown(name, problem) => write!(f, "{name} could not be shown to lead here: {problem}"),
            Self::TooSlow(what) => write!(f, "the authority did not come to an end with {what}"),
            Self::Files(error, path) => write!(f, "{path}: {error}: the user whom workers run as must own the data directory"),
            Self::Crypto(what) => write!(f, "{what} could not be made"),
        }
    }
}

impl std::error::Error for AcmeError {}

impl From<HttpError> for AcmeError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_with_what_to_do() {
        let body = r#"{"type": "urn:ietf:params:acme:error:compound", "detail": "Two names.", "status": 400, "subproblems": [
            {"type": "urn:ietf:params:acme:error:caa", "detail": "Not us.", "identifier": {"type": "dns", "value": "a.test"}},
            {"type": "urn:ietf:params:acme:error:malformed", "detail": "What?"}]}"#;
        let problem: Problem = serde_json::from_str(body).unwrap();
        let told = "Two names. (compound); Not us. (caa); What? (malformed): the CAA record of the name allows other authorities only";
        assert_eq!(problem.to_string(), told);
        let limited = Problem { kind: format!("{NAMESPACE}rateLimited"), detail: "Slowly.".into(), ..Problem::default() };
        let error = AcmeError::Refused(limited, Some(Duration::from_mins(1)));
        assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
        assert!(error.to_string().starts_with("the authority refuses: Slowly. (rateLimited): too many orders"), "{error}");
        assert_eq!(Problem { detail: "Down.".into(), ..Problem::default() }.to_string(), "Down.");
    }
}
