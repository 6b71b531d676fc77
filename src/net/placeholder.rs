//! What is shown until there is a certificate: one that is signed by itself, which no client trusts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

/// Who a placeholder says it is from.
pub(super) const ISSUER: &str = "skep: no certificate yet";

/// Those made so far, by their names: an update of the configuration must not change them.
static MADE: Mutex<BTreeMap<Vec<String>, String>> = Mutex::new(BTreeMap::new());

/// A placeholder for these names with its key, in PEM: the same at each call in this process.
///
/// # Errors
/// A name that cannot be one, or no random bytes.
pub fn placeholder(names: &[String]) -> Result<String, rcgen::Error> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = made.get(names) {
        return Ok(text.clone());
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ISSUER);
    let text = format!("{}{}", params.self_signed(&key)?.pem(), key.serialize_pem());
    made.insert(names.to_vec(), text.clone());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Certificate;
    use crate::net::tls_server::{Identity, check};

    #[test]
    fn a_placeholder_can_be_served_and_is_known_as_one() {
        let names = ["a.test".to_owned(), "b.test".to_owned()];
        let text = placeholder(&names).unwrap();
        assert_eq!(check(Identity { certificate: &text, key: &text }), Ok(()));
        let read = Certificate::read(&text).unwrap();
        assert_eq!(read.names, names);
        assert!(read.is_placeholder);
        assert_eq!(placeholder(&names).unwrap(), text);
        assert_ne!(placeholder(&names[..1]).unwrap(), text);
    }
}
