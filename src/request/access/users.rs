//! The file of users: htpasswd's form, with hashes that are slow to guess against.

use std::collections::HashMap;
use std::fmt;

use argon2::password_hash::PasswordVerifier;
use argon2::{Argon2, Params, PasswordHash};
use bcrypt::HashParts;

/// The longest password that is looked at, in bytes.
pub(super) const LONGEST_PASSWORD: usize = 1024;
/// The most memory that checking one password may take, in KiB.
const MOST_MEMORY: u32 = 256 << 10;
/// The most passes over that memory, and the most lanes of it.
const MOST_PASSES: u32 = 16;
/// The highest cost of bcrypt: about four seconds.
const MOST_COST: u32 = 16;
/// What an unknown name's password is compared with where the file has nobody: a hash that no password is known for.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2tlcHNrZXBza2Vwc2tlcA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Names and the hashes of their passwords.
#[derive(Debug)]
pub struct Users {
    hashes: HashMap<String, Hash>,
    /// What the password of an unknown name is compared with, so that the time tells nothing.
    decoy: Hash,
}

/// A hash as the file has it.
#[derive(Clone)]
enum Hash {
    /// A PHC string: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
    Argon2(String),
    /// In modular crypt form: `$2y$12$` with salt and hash.
    Bcrypt(String),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is wrong with a file of users, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, for people; nothing of a hash is in it.
    pub what: &'static str,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for UsersError {}

impl Users {
    /// Reads `name:hash` lines. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is not of that form, that repeats a name, or whose hash is of no kind that is slow to guess against.
    pub fn read(text: &str) -> Result<Self, UsersError> {
        let mut hashes = HashMap::new();
        let mut decoy = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| UsersError { line: index + 1, what };
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line.split_once(':').ok_or(wrong("a line is a name, a colon and the hash of a password"))?;
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(wrong("there is no name, or one with control characters"));
            }
            let hash = Hash::read(hash.trim_end()).map_err(wrong)?;
            decoy.get_or_insert_with(|| hash.clone());
            if hashes.insert(name.to_owned(), hash).is_some() {
                return Err(wrong("this name stands twice"));
            }
        }
        Ok(Self { hashes, decoy: decoy.unwrap_or_else(|| Hash::Argon2(NOBODY.to_owned())) })
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether there is somebody of this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.hashes.contains_key(name)
    }

    /// Whether it is this user's password. Slow by design (tens of milliseconds), and as slow for a name that nobody has.
    #[must_use]
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        match self.hashes.get(name) {
            Some(hash) => hash.verify(password),
            None => {
                // Only the time matters.
                let _ = self.decoy.verify(password);
                false
            }
        }
    }
}

impl Hash {
    fn read(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("$argon2") {
            let hash = PasswordHash::new(text).map_err(|_| "this is no whole Argon2 hash (a PHC string)")?;
            let params = Params::try_from(&hash).map_err(|_| "this Argon2 hash has parameters that cannot be")?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err("this is no whole Argon2 hash (a PHC string)");
            }
            if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_PASSES {
                return Err("this Argon2 hash takes too much to check: at most m=262144, t=16, p=16");
            }
            return Ok(Self::Argon2(text.to_owned()));
        }
        if ["$2y$", "$2b$", "$2a$"].iter().any(|kind| text.starts_with(kind)) {
            let parts: HashParts = text.parse().map_err(|_| "this is no whole bcrypt hash")?;
            if parts.get_cost() > MOST_COST {
                return Err("this bcrypt hash takes too long to check: a cost of at most 16");
            }
            return Ok(Self::Bcrypt(text.to_owned()));
        }
        Err("this is no hash of Argon2 or bcrypt, and others are guessed too fast: `skep password NAME` or `htpasswd -B` makes a line")
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, hash.as_str()).is_ok(),
            // The form was checked when it was read.
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordHasher;

    fn cheap(password: &str) -> String {
        let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        argon.hash_password(password.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn argon2_and_bcrypt_are_checked() {
        // Written by htpasswd -nbB -C 4.
        let bcrypt = bcrypt::hash("correct horse", 4).unwrap().replace("$2b$", "$2y$");
        let users = Users::read(&format!("# staff\n\nkim:{}\r\nlee:{bcrypt}\n", cheap("swordfish"))).unwrap();
        assert!(users.verify("kim", b"swordfish"));
        assert!(!users.verify("kim", b"swordfisH"));
        assert!(users.verify("lee", b"correct horse"));
        assert!(!users.verify("lee", b"swordfish"));
        assert!(!users.verify("nobody", b"swordfish"));
        assert!(users.knows("lee") && !users.knows("nobody"));
    }

    #[test]
    fn nobody_has_no_password() {
        Hash::read(NOBODY).unwrap();
        assert!(!Users::read("").unwrap().verify("kim", b""));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_the_hash() {
        for (text, line) in [
            ("kim", 1),
            ("\n:x", 2),
            ("kim:$apr1$salt$hash", 1),
            ("kim:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", 1),
            ("kim:swordfish", 1),
            ("kim:$argon2id$v=19$m=19456,t=2,p=1$c2tlcA", 1),
            ("kim:$argon2id$v=19$m=4294967295,t=2,p=1$c2tlcHNrZXBza2Vwc2tlcA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 1),
            ("kim:$2y$31$aaaaaaaaaaaaaaaaaaaaaeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1),
            ("kim:$2y$05$short", 1),
        ] {
            let error = Users::read(text).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("swordfish"));
        }
        let twice = format!("kim:{0}\nkim:{0}\n", cheap("x"));
        assert_eq!(Users::read(&twice).expect_err("twice").line, 2);
    }
}
