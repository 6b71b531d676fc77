//! The key of an account and what it signs (RFC 7515, RFC 7518 §3.4: ES256).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::AcmeError;

/// Bytes of a coordinate of P-256.
const COORDINATE: usize = 32;

/// A key pair on P-256.
pub(super) struct Account {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Account {
    /// A new key, as PKCS#8.
    pub(super) fn new_key() -> Result<Vec<u8>, AcmeError> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        key.map(|key| key.as_ref().to_vec()).map_err(|_| AcmeError::Crypto("a key for the account"))
    }

    /// The account with this key, PKCS#8.
    pub(super) fn new(key: &[u8]) -> Result<Self, AcmeError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random);
        Ok(Self { key: key.map_err(|_| AcmeError::Crypto("the account from its key"))?, random })
    }

    /// The public key (RFC 7517; RFC 7518 §6.2). Its members are in the order that the thumbprint needs.
    pub(super) fn public(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = (&point[1..=COORDINATE], &point[1 + COORDINATE..]);
        json!({"crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y)})
    }

    /// What a challenge is answered with (RFC 8555 §8.1, RFC 7638).
    pub(super) fn authorization(&self, token: &str) -> String {
        format!("{token}.{}", encode(&Sha256::digest(self.public().to_string())))
    }

    /// A signed message (RFC 7515 §7.2.2); without a payload it only asks (RFC 8555 §6.3).
    pub(super) fn sign(&self, protected: &Value, payload: Option<&Value>) -> Result<Vec<u8>, AcmeError> {
        let protected = encode(protected.to_string().as_bytes());
        let payload = payload.map_or(String::new(), |payload| encode(payload.to_string().as_bytes()));
        let signature = self.key.sign(&self.random, format!("{protected}.{payload}").as_bytes());
        let signature = signature.map_err(|_| AcmeError::Crypto("a signature"))?;
        let message = json!({"protected": protected, "payload": payload, "signature": encode(signature.as_ref())});
        Ok(message.to_string().into_bytes())
    }
}

/// Base64 as all of ACME has it (RFC 8555 §6.1).
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_is_signed_can_be_verified() {
        let account = Account::new(&Account::new_key().unwrap()).unwrap();
        let message: Value = serde_json::from_slice(&account.sign(&json!({"alg": "ES256"}), Some(&json!({}))).unwrap()).unwrap();
        let part = |name: &str| message[name].as_str().unwrap().to_owned();
        let signed = format!("{}.{}", part("protected"), part("payload"));
        let signature = URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
        let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, account.key.public_key()).verify(signed.as_bytes(), &signature);
        assert!(verified.is_ok());
        assert_eq!(URL_SAFE_NO_PAD.decode(part("payload")).unwrap(), b"{}");
        assert!(Account::new(b"no key").is_err());
    }

    #[test]
    fn the_thumbprint_is_of_the_members_in_their_order() {
        let account = Account::new(&Account::new_key().unwrap()).unwrap();
        let text = account.public().to_string();
        assert!(text.starts_with(r#"{"crv":"P-256","kty":"EC","x":""#), "{text}");
        assert_eq!(account.authorization("token").len(), "token.".len() + 43);
    }
}
