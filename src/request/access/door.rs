//! Whether names and passwords are right.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event_listener::Event;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::failures::Failures;
use super::places::Places;
use super::users::LONGEST_PASSWORD;
use super::{Basic, Users};
use crate::codec::http::RequestHead;
use crate::net::Peer;
use crate::reactor;
use crate::request::Response;
use crate::{log_error, log_info};

/// Passwords that are remembered as right. When there are more, the one that would be forgotten first is.
const MOST_REMEMBERED: usize = 1024;

/// What stands for name and password in memory.
type Digest = [u8; 32];

/// Lets in who knows a password of one file of users.
pub(crate) struct Door {
    /// The field `WWW-Authenticate`.
    challenge: String,
    users: Arc<Users>,
    remember: Duration,
    /// Made anew with the door, so that digests are worth nothing elsewhere.
    key: Digest,
    remembered: RefCell<HashMap<Digest, (Instant, Rc<str>)>>,
    /// Names with passwords that are being checked; told when that is over.
    pending: RefCell<HashSet<Digest>>,
    checked: Event,
    failures: RefCell<Failures>,
    places: Places,
}

/// What a client says of itself.
pub(super) struct Credentials {
    name: String,
    password: Vec<u8>,
    digest: Digest,
}

/// What is known of a request at once.
pub(super) enum Asked {
    /// Its user.
    Known(Rc<str>),
    /// This has to be checked.
    Unknown(Credentials),
    /// It cannot be answered but so.
    Refused(Response),
}

/// Removes a digest from what is being checked, also when the client leaves meanwhile.
struct Checking<'a>(&'a Door, Digest);

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        self.0.pending.borrow_mut().remove(&self.1);
        self.0.checked.notify(usize::MAX);
    }
}

impl Door {
    /// A door for the users of a file with this text; one that cannot be read, which the check of the configuration has ruled out, lets nobody in.
    pub(crate) fn new(basic: &Basic, text: &str) -> Self {
        let users = Users::read(text).or_else(|error| {
            log_error!("{}: {error}: nobody is let in", basic.users.display());
            Users::read("")
        });
        let mut key = Digest::default();
        let random = getrandom::fill(&mut key);
        Self {
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", basic.realm),
            users: Arc::new(users.expect("an empty file is right")),
            // Digests under a key that is known are not kept.
            remember: if random.is_ok() { *basic.remember } else { Duration::ZERO },
            key,
            remembered: RefCell::default(),
            pending: RefCell::default(),
            checked: Event::new(),
            failures: RefCell::new(Failures::new(basic.attempts)),
            places: Places::new(),
        }
    }

    /// Looks at what a request says of its user.
    pub(super) fn ask(&self, head: &RequestHead) -> Asked {
        let Some((name, password)) = head.fields.get("authorization").and_then(basic_credentials) else {
            return Asked::Refused(self.demand());
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(name.as_bytes());
        // No name has one.
        mac.update(b":");
        mac.update(&password);
        let digest: Digest = mac.finalize().into_bytes().into();
        match self.recall(&digest) {
            Some(user) => Asked::Known(user),
            None => Asked::Unknown(Credentials { name, password, digest }),
        }
    }

    /// Checks what is not known.
    ///
    /// # Errors
    /// The answer to a client whose password is wrong or cannot be checked now.
    pub(super) async fn check(&self, credentials: Credentials, peer: &Peer) -> Result<Rc<str>, Response> {
        let Credentials { name, password, digest } = credentials;
        // A page that asks for many things at once sends one password many times: it is checked once.
        while self.pending.borrow().contains(&digest) {
            let checked = self.checked.listen();
            if self.pending.borrow().contains(&digest) {
                checked.await;
            }
            if let Some(user) = self.recall(&digest) {
                return Ok(user);
            }
        }
        // Who comes by a unix socket is a front with clients of its own, who must not lock each other out.
        if let Some(address) = peer.ip()
            && let Err(wait) = self.failures.borrow_mut().charge(address, reactor::now())
        {
            return Err(Response::later(429, "too many wrong passwords; try again later", wait));
        }
        self.pending.borrow_mut().insert(digest);
        let checking = Checking(self, digest);
        let Some(place) = self.places.take().await else {
            self.refund(peer);
            return Err(Response::later(503, "too many passwords are being checked; try again", Duration::from_secs(1)));
        };
        let (users, asked) = (self.users.clone(), name.clone());
        let right = blocking::unblock(move || {
            let right = users.verify(&asked, &password);
            drop(place);
            right
        })
        .await;
        if !right {
            // A name that nobody has may be a password in the wrong field.
            let shown = if self.users.knows(&name) { name.as_str() } else { "nobody that is known" };
            log_info!("wrong password for {shown} from {peer}");
            return Err(self.demand());
        }
        self.refund(peer);
        let user: Rc<str> = name.into();
        self.keep(digest, user.clone());
        drop(checking);
        Ok(user)
    }

    fn refund(&self, peer: &Peer) {
        if let Some(address) = peer.ip() {
            self.failures.borrow_mut().refund(address, reactor::now());
        }
    }

    fn recall(&self, digest: &Digest) -> Option<Rc<str>> {
        let remembered = self.remembered.borrow();
        remembered.get(digest).filter(|(until, _)| *until > reactor::now()).map(|(_, user)| user.clone())
    }

    fn keep(&self, digest: Digest, user: Rc<str>) {
        let now = reactor::now();
        let Some(until) = now.checked_add(self.remember).filter(|_| !self.remember.is_zero()) else { return };
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, (until, _)| *until > now);
        }
        if remembered.len() >= MOST_REMEMBERED
            && let Some(first) = remembered.iter().min_by_key(|(_, (until, _))| *until).map(|(digest, _)| *digest)
        {
            remembered.remove(&first);
        }
        remembered.insert(digest, (until, user));
    }

    /// Asks for name and password (RFC 9110 §11.6.1).
    fn demand(&self) -> Response {
        let mut response = Response::error(401, "name and password are needed");
        // The realm is checked with the configuration.
        let _ = response.fields.push("WWW-Authenticate", &self.challenge);
        response
    }
}

/// Name and password from `Basic` and their base64 (RFC 7617 §2); `None` when it is anything else.
fn basic_credentials(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !rest.starts_with(b" ") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&decoded[..colon]).ok()?;
    let password = &decoded[colon + 1..];
    let plain = !name.is_empty() && !name.chars().any(char::is_control) && password.len() <= LONGEST_PASSWORD;
    plain.then(|| (name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_they_are_written() {
        let read = |value: &str| basic_credentials(value.as_bytes());
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Some(("Aladdin".to_owned(), b"open sesame".to_vec())));
        assert_eq!(read("basic  dGVzdDoxMjPCow=="), Some(("test".to_owned(), "123\u{a3}".into())));
        assert_eq!(read("Basic YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())));
        for bad in
            ["", "Basic", "Basic x", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic OmI=", "Basic YQ=="]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
