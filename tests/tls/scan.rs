//! What a scanner that others wrote (sslscan) finds that a server accepts.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::{ONE, Secure, openssl, site, text};

/// The values of an attribute in the elements `name`, in order.
fn values(report: &str, name: &str, wanted: &[(&str, &str)], attribute: &str) -> Vec<String> {
    let value = |element: &str, attribute: &str| {
        let (_, rest) = element.split_once(&format!(" {attribute}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let elements = report.lines().filter_map(|line| line.trim().strip_prefix(&format!("<{name} ")).map(|rest| format!(" {rest}")));
    let elements = elements.filter(|element| wanted.iter().all(|(name, is)| value(element, name).as_deref() == Some(is)));
    elements.filter_map(|element| value(&element, attribute)).collect()
}

fn scanned(secure: &Secure, name: &str) -> String {
    let mut command = Command::new("sslscan");
    command.args(["--no-colour", "--xml=-", &format!("--sni-name={name}"), &secure.address.to_string()]);
    let output = command.output().expect("sslscan: tests/peers/tls.sh installs it");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn a_scanner_finds_nothing_old_and_nothing_weak() {
    let site = site();
    openssl(
        site.path(),
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=rsa -addext subjectAltName=DNS:rsa.test -keyout rsa.key -out rsa.pem",
    );
    let secure = Secure::start(site, &format!("{ONE}, others: [(certificate: \"rsa.pem\", key: \"rsa.key\")]"));
    // Forward secrecy and authenticated encryption, nothing else: no suite of RSA key exchange, CBC, RC4, 3DES, SHA-1, NULL or export.
    let modern = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];
    for (name, kind) in [("one.test", "ECDHE-ECDSA"), ("rsa.test", "ECDHE-RSA")] {
        let report = scanned(&secure, name);
        let spoken: Vec<_> = values(&report, "protocol", &[("enabled", "1")], "version");
        assert_eq!(spoken, ["1.2", "1.3"], "{report}");
        let refused: Vec<_> = values(&report, "protocol", &[("enabled", "0")], "version");
        assert_eq!(refused, ["2", "3", "1.0", "1.1"], "{report}");
        let mut suites = values(&report, "cipher", &[("sslversion", "TLSv1.2")], "cipher");
        suites.sort();
        let mut expected = modern.map(|suite| format!("{kind}-{suite}"));
        expected.sort();
        assert_eq!(suites, expected, "{report}");
        let mut suites = values(&report, "cipher", &[("sslversion", "TLSv1.3")], "cipher");
        suites.sort();
        assert_eq!(suites, ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"], "{report}");
        assert_eq!(values(&report, "renegotiation", &[], "supported"), ["0"], "{report}");
        let groups = values(&report, "group", &[], "name");
        let known = ["x25519", "secp256r1 (NIST P-256)", "secp384r1 (NIST P-384)"];
        assert!(!groups.is_empty() && groups.iter().all(|group| known.contains(&group.as_str())), "{groups:?}");
        assert!(!values(&report, "heartbleed", &[], "vulnerable").contains(&"1".to_owned()), "{report}");
        assert!(!values(&report, "compression", &[], "supported").contains(&"1".to_owned()), "{report}");
    }
    // The scanner's own library may not be able to compress, or to ask for a handshake within a connection: this one says what was agreed upon.
    let plain = secure.once(&["-tls1_2", "-comp"]);
    assert!(plain.contains("Compression: NONE"), "{plain}");
    assert!(plain.contains("Secure Renegotiation IS supported") || plain.contains("Secure Renegotiation IS NOT supported"), "{plain}");
    // `R` at the beginning of a line asks for one; the client ends when it is refused.
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-connect", &secure.address.to_string()]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(b"R\n").unwrap();
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    client.wait().unwrap();
    drop(input);
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}
