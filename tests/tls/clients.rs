//! Clients that show certificates: openssl, curl, and what applications, programs and other servers are told of them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::server::{Site, free_address};
use crate::{ONE, Secure, certificate, configure, openssl, site, text};

/// An authority, and what a client of it shows: `client.pem` and `client.key`.
fn client_certificate(folder: &Path) {
    certificate(folder, "authority", "DNS:authority.test");
    openssl(
        folder,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -addext subjectAltName=DNS:client.test -keyout client.key -out client.csr",
    );
    openssl(
        folder,
        "x509 -req -in client.csr -CA authority.pem -CAkey authority.key -CAcreateserial -copy_extensions copy -days 30 -out client.pem",
    );
}

#[test]
fn clients_show_a_certificate_where_that_is_asked() {
    let site = site();
    let folder = site.path().to_owned();
    client_certificate(&folder);
    certificate(&folder, "stranger", "DNS:stranger.test");
    let secure = Secure::start(site, &format!("{ONE}, clients: \"authority.pem\""));
    assert!(secure.asked("one.pem", "one.test", "/", &["--cert", "client.pem", "--key", "client.key"]).starts_with("https "));
    // Who is refused is told why, though its request is there by then and nobody reads that.
    for _ in 0..10 {
        for (shown, why) in
            [(&[][..], "certificate required"), (&["--cert", "stranger.pem", "--key", "stranger.key"], "certificate unknown")]
        {
            let refused = secure.curl("one.pem", "one.test", "/", shown);
            assert!(!refused.status.success() && text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
        }
    }
    assert!(secure.asked("one.pem", "one.test", "/", &["--cert", "client.pem", "--key", "client.key"]).starts_with("https "));
}

#[test]
fn a_session_does_not_stand_for_a_certificate_of_the_client() {
    let site = site();
    client_certificate(site.path());
    let secure = Secure::start(site, ONE);
    let both = [("-tls1_3", "three"), ("-tls1_2", "two")];
    for (version, session) in both {
        secure.once(&[version, "-sess_out", session]);
        assert!(secure.once(&[version, "-sess_in", session]).contains("\nReused, "), "{version}");
    }
    configure(&secure.skep.site, secure.address, "auto_reload: false,", &format!("{ONE}, clients: \"authority.pem\""));
    secure.skep.order("update");
    for (version, session) in both {
        let refused = secure.once(&[version, "-sess_in", session]);
        assert!(!refused.contains("\nReused, ") && !refused.contains("https one.test"), "{version}: {refused}");
    }
    // Nor does one that begins with a certificate.
    let shown = ["-cert", "client.pem", "-key", "client.key", "-sess_out", "own"];
    for (version, _) in both {
        let first = secure.once(&[&[version][..], &shown].concat());
        assert!(first.contains("https one.test"), "{version}: {first}");
        let again = secure.once(&[version, "-sess_in", "own"]);
        assert!(!again.contains("https one.test"), "{version}: {again}");
    }
}

/// Tells what it is told of the client's certificate, by the handshake and by fields of requests.
const APP: &str = r#"
return {
    request = function(req)
        if req.path == "/fields" then
            local told = {}
            for _, name in { "client-cert", "x-subject", "x-issuer", "x-serial", "x-fingerprint", "x-names", "x-verified", "x_subject" } do
                table.insert(told, `{name}={req.headers[name]}`)
            end
            return table.concat(told, "\n")
        end
        local shown = req.client_certificate
        if not shown then
            return "nobody"
        end
        return `{shown.subject} {shown.common_name} {shown.issuer} {shown.serial} {table.concat(shown.names, ",")} {shown.fingerprint} {shown.ends - shown.begins}`
    end,
    connection = function(connection)
        local shown = connection.client_certificate
        connection:write(`{connection:line()} {if shown then shown.subject else "nobody"}\n`)
    end,
}
"#;

const PROGRAM: &str = "#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
env | grep '^SSL_' | grep -v '^SSL_CLIENT_CERT=' | sort
printf '%s\\n' \"$SSL_CLIENT_CERT\" | openssl x509 -noout -fingerprint -sha256 2>/dev/null
";

/// A server that asks clients for certificates and takes those that have none; behind it a script, a program, and a proxy to the server beside it.
fn optional() -> Secure {
    let site = site();
    let folder = site.path().to_owned();
    client_certificate(&folder);
    certificate(&folder, "stranger", "DNS:stranger.test");
    let address = free_address();
    configure(&site, address, "auto_reload: false,", &format!("{ONE}, clients: \"authority.pem\", client_certificates: Optional"));
    let (config, plain) = (fs::read_to_string(site.config()).unwrap(), site.address);
    let fields = "{\"Client-Cert\": Whole, \"X-Subject\": Subject, \"X-Issuer\": Issuer, \"X-Serial\": Serial, \"X-Fingerprint\": Fingerprint, \
                  \"X-Names\": Names, \"X-Verified\": Verified}";
    let apps = format!(
        "apps: {{\"cgi\": Cgi(root: \"cgi\"), \"told\": Proxy(to: [\"http://{plain}\"], client_certificate: {fields}), \
         \"untold\": Proxy(to: [\"http://{plain}\"], strip: true), "
    );
    let routes =
        "(path: \"/cgi\", app: \"cgi\"), (path: \"/fields\", app: \"told\"), (path: \"/untold\", app: \"untold\"), (path: \"/files\"";
    let config = config.replace("apps: {", &apps).replace("(path: \"/files\"", routes);
    site.write("config.ron", &config);
    site.write("cgi/env", PROGRAM);
    fs::set_permissions(folder.join("cgi/env"), fs::Permissions::from_mode(0o755)).unwrap();
    site.write("apps/hello.luau", APP);
    let skep = site.start();
    skep.settled(crate::WORKERS);
    Secure { skep, address }
}

const SHOWN: [&str; 4] = ["--cert", "client.pem", "--key", "client.key"];

/// What openssl says of a certificate.
fn said(folder: &Path, name: &str, what: &str) -> String {
    let output =
        std::process::Command::new("openssl").args(["x509", "-noout", what, "-sha256", "-in", name]).current_dir(folder).output().unwrap();
    text(&output.stdout).trim().split_once('=').unwrap().1.to_owned()
}

#[test]
fn a_certificate_may_be_shown_where_it_is_optional() {
    let secure = optional();
    assert_eq!(secure.asked("one.pem", "one.test", "/", &[]), "nobody");
    let serial = said(secure.path(), "client.pem", "-serial").to_ascii_lowercase();
    let fingerprint = said(secure.path(), "client.pem", "-fingerprint").replace(':', "").to_ascii_lowercase();
    let told = format!("CN=client client CN=authority {serial} client.test {fingerprint} {}", 30 * 86_400);
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"], &["--http2"]] {
        assert_eq!(secure.asked("one.pem", "one.test", "/", &[version, &SHOWN].concat()), told, "{version:?}");
    }
    // One that is no good is not taken for none.
    let refused = secure.curl("one.pem", "one.test", "/", &["--cert", "stranger.pem", "--key", "stranger.key"]);
    assert!(!refused.status.success(), "{refused:?}");
    // A session does not stand for one here either.
    for version in ["-tls1_3", "-tls1_2"] {
        secure.once(&[version, "-cert", "client.pem", "-key", "client.key", "-sess_out", "own"]);
        if !secure.path().join("own").exists() {
            // None was given.
            continue;
        }
        let again = secure.once(&[version, "-sess_in", "own"]);
        assert!(!again.contains("\nReused, ") && again.contains("nobody"), "{version}: {again}");
    }
}

#[test]
fn programs_are_told_of_certificates_under_the_usual_names() {
    let secure = optional();
    assert_eq!(secure.asked("one.pem", "one.test", "/cgi/env", &[]), "SSL_CLIENT_VERIFY=NONE\n");
    // No field of a request passes for such a variable.
    let spoofed = secure.asked(
        "one.pem",
        "one.test",
        "/cgi/env",
        &["--header", "SSL-Client-S-DN: CN=evil", "--header", "SSL_CLIENT_VERIFY: SUCCESS"],
    );
    assert_eq!(spoofed, "SSL_CLIENT_VERIFY=NONE\n");
    let told = secure.asked("one.pem", "one.test", "/cgi/env", &SHOWN);
    let serial = said(secure.path(), "client.pem", "-serial");
    for line in [
        "SSL_CLIENT_VERIFY=SUCCESS",
        "SSL_CLIENT_S_DN=CN=client",
        "SSL_CLIENT_S_DN_CN=client",
        "SSL_CLIENT_I_DN=CN=authority",
        "SSL_CLIENT_SAN_DNS_0=client.test",
        &format!("SSL_CLIENT_M_SERIAL={serial}"),
        &format!("SSL_CLIENT_V_START={}", said(secure.path(), "client.pem", "-startdate")),
        &format!("SSL_CLIENT_V_END={}", said(secure.path(), "client.pem", "-enddate")),
        &format!("sha256 Fingerprint={}", said(secure.path(), "client.pem", "-fingerprint")),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}

#[test]
fn servers_behind_a_proxy_are_told_where_that_is_said_and_never_by_clients() {
    let secure = optional();
    let lies = ["Client-Cert: :evil:", "X-Subject: CN=evil", "X_Subject: CN=evil", "X-Verified: SUCCESS", "X-Names: evil.test"];
    let lies: Vec<&str> = lies.iter().flat_map(|lie| ["--header", *lie]).collect();
    let nothing =
        "client-cert=nil\nx-subject=nil\nx-issuer=nil\nx-serial=nil\nx-fingerprint=nil\nx-names=nil\nx-verified=NONE\nx_subject=nil";
    assert_eq!(secure.asked("one.pem", "one.test", "/fields", &lies), nothing);
    let told = secure.asked("one.pem", "one.test", "/fields", &[&lies[..], &SHOWN].concat());
    let pem = fs::read_to_string(secure.path().join("client.pem")).unwrap();
    let whole: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let serial = said(secure.path(), "client.pem", "-serial").to_ascii_lowercase();
    let fingerprint = said(secure.path(), "client.pem", "-fingerprint").replace(':', "").to_ascii_lowercase();
    assert_eq!(
        told,
        format!(
            "client-cert=:{whole}:\nx-subject=CN=client\nx-issuer=CN=authority\nx-serial={serial}\nx-fingerprint={fingerprint}\n\
             x-names=client.test\nx-verified=SUCCESS\nx_subject=nil"
        )
    );
    // Where nothing is said, nothing is told, and the standard's field is nobody's to send (RFC 9440 §4).
    let untold = secure.asked("one.pem", "one.test", "/untold/fields", &[&["--header", "Client-Cert: :evil:"][..], &SHOWN].concat());
    assert!(untold.contains("client-cert=nil") && untold.contains("x-subject=nil"), "{untold}");
}

#[test]
fn raw_connections_know_the_certificate_too() {
    let site = site();
    client_certificate(site.path());
    site.write("apps/hello.luau", APP);
    let address = free_address();
    configure(&site, free_address(), "auto_reload: false,", ONE);
    let tls = format!("{ONE}, clients: \"authority.pem\", client_certificates: Optional");
    let raw = format!("servers: {{\"raw\": Script(listen: [\"{address}\"], app: \"hello\", tls: ({tls})), ");
    let config = fs::read_to_string(site.config()).unwrap();
    site.write("config.ron", &config.replace("servers: {", &raw));
    let secure = Secure { skep: site.start(), address };
    for (more, told) in [(&[][..], "hi nobody"), (&["-cert", "client.pem", "-key", "client.key"], "hi CN=client")] {
        let mut client = secure.client(&[more, &["-quiet", "-ign_eof"]].concat());
        client.stdin.as_mut().unwrap().write_all(b"hi\n").unwrap();
        let mut output = String::new();
        client.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        client.wait().unwrap();
        assert_eq!(output.trim_end(), told);
    }
}

#[test]
fn optional_certificates_need_authorities() {
    let site: Site = site();
    site.write("apps/hello.luau", APP);
    configure(&site, free_address(), "", &format!("{ONE}, client_certificates: Optional"));
    let output = site.command("configtest").output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("it must be said of which authorities they are: `clients`"), "{said}");
}
