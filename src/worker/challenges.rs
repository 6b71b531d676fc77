//! Answers to an authority that looks whether a name leads here, over HTTP (RFC 8555 §8.3) or within a TLS handshake (RFC 8737), in whichever worker it
//! comes by.
//!
//! The hub orders and knows the tokens. It is asked for each, so that no worker can be the one that has not heard of it yet.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::codec::http::Method;
use crate::link::{Call, HubLink, Reply};
use crate::net::tls_challenge::Proofs;
use crate::request::{Answer, First, Handler, Request, Response};

/// Where the authority asks.
const PATH: &str = "/.well-known/acme-challenge/";
/// How long the hub may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// No token is longer.
const LONGEST: usize = 256;

/// What answers in this worker.
pub(super) struct Challenges(Rc<HubLink>);

impl Challenges {
    /// To be asked before the routes of a server.
    pub(super) fn first(hub: &Rc<HubLink>) -> First {
        First { path: PATH, handler: Rc::new(Self(hub.clone())) }
    }

    /// To be asked within handshakes.
    pub(super) fn proofs(hub: &Rc<HubLink>) -> Rc<dyn Proofs> {
        Rc::new(Self(hub.clone()))
    }

    async fn answer(&self, token: String) -> Response {
        match self.0.call(Call::Challenge(token), PATIENCE).await {
            Ok(Reply::Challenge(Some(text))) => {
                let mut response = Response::new(200, text.into_bytes());
                response.fields.push_static("Content-Type", "application/octet-stream");
                response.fields.push_static("Cache-Control", "no-store");
                response
            }
            Ok(_) => unknown(),
            Err(error) => Response::error(503, &error.to_string()),
        }
    }
}

impl Proofs for Challenges {
    fn proof(&self, name: String) -> Pin<Box<dyn Future<Output = Option<String>>>> {
        let hub = self.0.clone();
        Box::pin(async move {
            match hub.call(Call::Challenge(name), PATIENCE).await {
                Ok(Reply::Challenge(proof)) => proof,
                // The authority asks again, and who ordered is told what it saw.
                _ => None,
            }
        })
    }
}

impl Handler for Challenges {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        if !matches!(request.head.method, Method::Get | Method::Head) {
            let mut response = Response::error(405, "a challenge can only be read");
            response.fields.push_static("Allow", "GET, HEAD");
            return Answer::Now(response);
        }
        let token = request.head.path().strip_prefix(PATH).unwrap_or_default();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > LONGEST || !token.bytes().all(is_token) {
            return Answer::Now(unknown());
        }
        let token = token.to_owned();
        Answer::Later(Box::pin(async move { self.answer(token).await }))
    }
}

fn unknown() -> Response {
    Response::error(404, "no certificate is ordered with this token")
}
