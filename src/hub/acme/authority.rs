//! What is said to an authority (RFC 8555 §6, §7.1, §7.2): every request signed with a nonce that is used once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::account::Account;
use super::connector::Secure;
use super::error::{AcmeError, Problem};
use crate::clients::http::{Client, ClientRequest, ClientResponse, RequestBody, Url};
use crate::codec::http::{Fields, Method};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer, bytes.
const LARGEST: usize = 1 << 20;
/// How often a request is signed anew because the authority does not know its nonce any more (§6.5).
const NONCES: usize = 8;
/// No authority wants to be left alone for longer.
const LONGEST_WAIT: Duration = Duration::from_hours(7 * 24);

/// Where the authority takes what (§7.1.1).
#[derive(Deserialize)]
struct Directory {
    #[serde(rename = "newNonce")]
    nonces: String,
    #[serde(rename = "newAccount")]
    accounts: String,
    #[serde(rename = "newOrder")]
    orders: String,
}

/// An authority, and the account there once it is known.
pub(super) struct Authority {
    client: Client,
    roots: Option<Rc<str>>,
    directory: Directory,
    account: Account,
    /// The account's address, which stands for its key (§6.2).
    known: RefCell<Option<String>>,
    nonce: Cell<Option<String>>,
}

/// An answer that is no refusal.
pub(super) struct Said {
    /// The address of what was made.
    pub(super) location: Option<String>,
    /// When to ask again.
    pub(super) retry_after: Option<Duration>,
    body: Bytes,
}

impl Said {
    /// The body as what it must be.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body).map_err(|error| AcmeError::Unexpected(format!("an answer cannot be understood: {error}")))
    }

    /// The body as a text.
    pub(super) fn text(&self) -> Result<String, AcmeError> {
        String::from_utf8(self.body.to_vec()).map_err(|_| AcmeError::Unexpected("a certificate is no text".to_owned()))
    }
}

impl Authority {
    /// Asks for the directory at this address.
    pub(super) async fn new(directory: &str, roots: Option<Rc<str>>, account: Account) -> Result<Self, AcmeError> {
        let client = Client::new(Box::new(Secure));
        let answer = send(&client, request(Method::Get, directory, roots.as_ref())?).await?;
        let directory: Directory = serde_json::from_slice(&answer.1)
            .map_err(|error| AcmeError::Unexpected(format!("{directory} answered {} with no directory: {error}", answer.0.head.status)))?;
        Ok(Self { client, roots, directory, account, known: RefCell::default(), nonce: Cell::default() })
    }

    /// The account's key.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Makes the account, or finds it (§7.3, §7.3.1).
    pub(super) async fn sign_in(&self, contact: Option<&str>) -> Result<(), AcmeError> {
        let contact: Vec<&str> = contact.into_iter().collect();
        let said = self.post(&self.directory.accounts, Some(&json!({"termsOfServiceAgreed": true, "contact": contact}))).await?;
        let location = said.location.ok_or_else(|| AcmeError::Unexpected("the account has no address".to_owned()))?;
        self.known.replace(Some(location));
        Ok(())
    }

    /// Begins an order for these names (§7.4).
    pub(super) async fn order(&self, names: &[String]) -> Result<Said, AcmeError> {
        let identifiers: Vec<Value> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
        self.post(&self.directory.orders, Some(&json!({"identifiers": identifiers}))).await
    }

    /// Sends something signed; without a payload it only asks.
    pub(super) async fn post(&self, url: &str, payload: Option<&Value>) -> Result<Said, AcmeError> {
        for _ in 0..NONCES {
            let nonce = self.nonce().await?;
            let mut protected = json!({"alg": "ES256", "nonce": nonce, "url": url});
            match self.known.borrow().as_deref() {
                Some(known) => protected["kid"] = known.into(),
                None => protected["jwk"] = self.account.public(),
            }
            let mut request = request(Method::Post, url, self.roots.as_ref())?;
            set(&mut request.fields, "content-type", "application/jose+json")?;
            request.body = RequestBody::Bytes(self.account.sign(&protected, payload)?.into());
            let (response, body) = send(&self.client, request).await?;
            self.keep_nonce(&response);
            let field = |name: &str| response.head.fields.get_str(name).map(str::to_owned);
            let retry_after = field("retry-after").and_then(|text| wait(&text, SystemTime::now()));
            if (200..300).contains(&response.head.status) {
                return Ok(Said { location: field("location"), retry_after, body });
            }
            let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
                detail: format!("{url} answered {} without saying why", response.head.status),
                ..Problem::default()
            });
            if problem.name() != "badNonce" {
                return Err(AcmeError::Refused(problem, retry_after));
            }
        }
        Err(AcmeError::Unexpected(format!("it knew none of {NONCES} nonces that it gave out itself")))
    }

    /// A nonce that was not used yet (§7.2).
    async fn nonce(&self) -> Result<String, AcmeError> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        let (response, _) = send(&self.client, request(Method::Head, &self.directory.nonces, self.roots.as_ref())?).await?;
        self.keep_nonce(&response);
        self.nonce.take().ok_or_else(|| AcmeError::Unexpected("it gives no nonce".to_owned()))
    }

    fn keep_nonce(&self, response: &ClientResponse) {
        self.nonce.set(response.head.fields.get_str("replay-nonce").map(str::to_owned));
    }
}

fn request(method: Method, url: &str, roots: Option<&Rc<str>>) -> Result<ClientRequest, AcmeError> {
    let url = Url::parse(url).map_err(|error| AcmeError::Unexpected(error.to_string()))?;
    let mut fields = Fields::new();
    set(&mut fields, "user-agent", concat!("skep/", env!("CARGO_PKG_VERSION")))?;
    Ok(ClientRequest { method, url, fields, body: RequestBody::Empty, timeout: PATIENCE, authorities: roots.cloned(), redirects: 0 })
}

fn set(fields: &mut Fields, name: &str, value: &str) -> Result<(), AcmeError> {
    fields.push(name, value).map_err(|error| AcmeError::Unexpected(error.to_string()))
}

async fn send(client: &Client, request: ClientRequest) -> Result<(ClientResponse, Bytes), AcmeError> {
    let response = client.send(request).await?;
    let body = response.body.bytes(LARGEST).await?;
    Ok((response, body))
}

/// How long `Retry-After` says (RFC 9110 §10.2.3).
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap();
        assert_eq!(wait("120", now), Some(Duration::from_mins(2)));
        assert_eq!(wait("Mon, 23 Nov 2026 11:00:00 GMT", now), Some(Duration::from_hours(1)));
        assert_eq!(wait("Mon, 23 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait("99999999999", now), Some(LONGEST_WAIT));
        assert_eq!(wait("soon", now), None);
    }
}
