//! One order, from the names to the certificate (RFC 8555 §7.4, §7.5).

use std::rc::Rc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::Deserialize;
use serde_json::json;

use super::account::encode;
use super::answers::Answers;
use super::authority::{Authority, Said};
use super::error::{AcmeError, Problem};
use crate::net::Certificate;
use crate::net::acme::Challenge as Way;
use crate::net::tls_server::{Identity, check};
use crate::reactor::sleep;

/// How often it is asked whether something has come to an end.
const TRIES: usize = 60;
/// How long to wait before the next time, when the authority does not say.
const PAUSE: Duration = Duration::from_secs(2);
/// And at most, when it does.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Order {
    status: String,
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct Authorization {
    identifier: Identifier,
    status: String,
    challenges: Vec<Challenge>,
}

#[derive(Deserialize)]
struct Identifier {
    value: String,
}

#[derive(Deserialize)]
struct Challenge {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    token: Option<String>,
    error: Option<Problem>,
}

/// Orders a certificate for these names; gives it with its intermediates and its new key, in PEM.
pub(super) async fn order(authority: &Authority, names: &[String], way: Way, answers: &Rc<Answers>) -> Result<String, AcmeError> {
    let said = authority.order(names).await?;
    let at = said.location.clone().ok_or_else(|| AcmeError::Unexpected("the order has no address".to_owned()))?;
    let order: Order = said.json()?;
    for authorization in &order.authorizations {
        show(authority, authorization, way, answers).await?;
    }
    let crypto = |_| AcmeError::Crypto("the request for the certificate");
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(crypto)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(crypto)?;
    authority.post(&order.finalize, Some(&json!({"csr": encode(request.der())}))).await?;
    for _ in 0..TRIES {
        let said = authority.post(&at, None).await?;
        let order: Order = said.json()?;
        match (order.status.as_str(), order.certificate) {
            ("valid", Some(certificate)) => {
                let chain = authority.post(&certificate, None).await?.text()?;
                return whole(&chain, &key.serialize_pem(), names);
            }
            ("invalid", _) => return Err(AcmeError::Refused(order.error.unwrap_or_default(), None)),
            _ => pause(&said).await,
        }
    }
    Err(AcmeError::TooSlow("the certificate"))
}

/// Shows that a name leads here, unless the authority knows that from before (§7.5.1).
async fn show(authority: &Authority, url: &str, way: Way, answers: &Rc<Answers>) -> Result<(), AcmeError> {
    let authorization: Authorization = authority.post(url, None).await?.json()?;
    let name = authorization.identifier.value;
    if authorization.status == "valid" {
        return Ok(());
    }
    let kind = way.name();
    let challenge = authorization.challenges.into_iter().find(|challenge| challenge.kind == kind);
    let (url_of_challenge, token) = challenge
        .and_then(|challenge| Some((challenge.url, challenge.token?)))
        .ok_or_else(|| AcmeError::NoChallenge(name.clone(), kind))?;
    let answer = authority.account().authorization(&token);
    let asked = match way {
        Way::Http01 => token,
        Way::TlsAlpn01 => name.to_ascii_lowercase(),
    };
    let _shown = answers.show(asked, answer).await?;
    authority.post(&url_of_challenge, Some(&json!({}))).await?;
    for _ in 0..TRIES {
        let said = authority.post(url, None).await?;
        let authorization: Authorization = said.json()?;
        match authorization.status.as_str() {
            "valid" => return Ok(()),
            "pending" | "processing" => pause(&said).await,
            _ => {
                let problem = authorization.challenges.into_iter().find_map(|challenge| challenge.error);
                return Err(AcmeError::NotShown(name, problem.unwrap_or_default()));
            }
        }
    }
    Err(AcmeError::TooSlow("looking whether the names lead here"))
}

async fn pause(said: &Said) {
    sleep(said.retry_after.unwrap_or(PAUSE).clamp(Duration::from_millis(100), LONGEST_PAUSE)).await;
}

/// The certificate with its key, if they can be served and are for these names.
fn whole(chain: &str, key: &str, names: &[String]) -> Result<String, AcmeError> {
    let text = format!("{}\n{key}", chain.trim_end());
    check(Identity { certificate: &text, key: &text }).map_err(|error| AcmeError::Unexpected(format!("the certificate: {error}")))?;
    let has = Certificate::read(&text).map(|read| read.names).unwrap_or_default();
    match names.iter().find(|name| !has.contains(name)) {
        Some(missing) => Err(AcmeError::Unexpected(format!("the certificate is not for {missing}"))),
        None => Ok(text),
    }
}
