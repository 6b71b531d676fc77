//! The configuration of a Redis client.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::percent;
use crate::secret::Secret;

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Where it is: `redis://user:password@host:6379/0`, `rediss://…` over TLS, `unix:///path`. User, password, port and database may be left out.
    pub uri: Secret,
}

impl Default for Redis {
    fn default() -> Self {
        Self { uri: Secret::new("redis://127.0.0.1:6379") }
    }
}

/// A URI taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port, or a socket's file.
    pub place: Place,
    /// Over TLS.
    pub tls: bool,
    /// The user, when it is not the default one.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database.
    pub database: u32,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Host and port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Redis {
    /// Takes the URI apart.
    ///
    /// # Errors
    /// In words, without the secret.
    pub fn target(&self) -> Result<Target, String> {
        let uri = self.uri.reveal();
        let (scheme, rest) = uri.split_once("://").ok_or("the uri begins with redis://, rediss:// or unix://")?;
        let mut target = Target { place: Place::Unix(PathBuf::new()), tls: scheme == "rediss", user: None, password: None, database: 0 };
        match scheme {
            "unix" => target.place = Place::Unix(PathBuf::from(rest)),
            "redis" | "rediss" => {
                let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
                if !database.is_empty() {
                    target.database = database.parse().map_err(|_| "behind the address stands the number of the database")?;
                }
                let (credentials, address) = authority.rsplit_once('@').map_or((None, authority), |(before, after)| (Some(before), after));
                if let Some(credentials) = credentials {
                    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                    let decoded = |text: &str| percent::decode_path(text).map_or_else(|| text.to_owned(), std::borrow::Cow::into_owned);
                    target.user = (!user.is_empty()).then(|| decoded(user));
                    target.password = Some(Secret::new(decoded(password)));
                }
                let (host, port) = match address.rsplit_once(':') {
                    Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| "the port is no number")?),
                    _ => (address, 6379),
                };
                let host = host.trim_start_matches('[').trim_end_matches(']');
                if host.is_empty() {
                    return Err("the uri has no host".to_owned());
                }
                target.place = Place::Tcp(host.to_owned(), port);
            }
            _ => return Err("the uri begins with redis://, rediss:// or unix://".to_owned()),
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Result<Target, String> {
        Redis { uri: Secret::new(uri) }.target()
    }

    #[test]
    fn uris_are_taken_apart() {
        let full = target("rediss://me:p%40ss@[::1]:7000/3").unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((full.place, full.tls, full.user.as_deref(), full.database), (Place::Tcp("::1".into(), 7000), true, Some("me"), 3));
        assert!(full.password.is_some_and(|password| password.matches(b"p@ss")));
        let short = target("redis://:secret@cache").unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((short.place, short.user), (Place::Tcp("cache".into(), 6379), None));
        assert!(target("unix:///run/redis.sock").is_ok_and(|target| target.place == Place::Unix("/run/redis.sock".into())));
        for bad in ["", "localhost:6379", "http://x", "redis://", "redis://x:y", "redis://x/y"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
