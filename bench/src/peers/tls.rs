//! Certificates, and looking at servers that have one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Result;
use crate::folder::Folder;

/// A certificate of its own (ECDSA P-256) and its key, in this folder.
pub fn certificate(folder: &Folder) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.path().join("site.pem"), folder.path().join("site.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("openssl: {error}: tests/peers/tls.sh installs it"))?;
    if !made.status.success() {
        return Err(format!("openssl: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    Ok((certificate, key))
}

/// Whether the right answer comes.
pub fn answers(address: SocketAddr) -> bool {
    let url = format!("https://{address}/fixed");
    let asked = Command::new("curl").args(["--silent", "--insecure", "--fail", "--max-time", "2", "--output", "/dev/null", &url]).status();
    asked.is_ok_and(|status| status.success())
}
