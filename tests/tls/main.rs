//! HTTPS with clients that others wrote: curl and openssl. Certificates are made by openssl.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod scan;
mod sessions;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use support::server::{Site, Skep, free_address};
use support::wait;

/// Says over what it was asked, and how long the body was; speaks WebSocket.
const APP: &str = r#"
local app = { stream = { "/upload" } }

function app.request(req)
    if req.path == "/upload" then
        local size = 0
        for chunk in req:chunks() do
            size += #chunk
        end
        return tostring(size)
    end
    return `{req.server.scheme} {req.server.authority}`
end

function app.websocket(ws)
    for message in ws:messages() do
        ws:send("heard " .. message)
    end
end

return app
"#;

const WORKERS: usize = 3;

/// A site with a plain server, and one that speaks TLS.
struct Secure {
    skep: Skep,
    address: SocketAddr,
}

impl Secure {
    /// `tls` is what stands between the brackets of that field; certificates are made before.
    fn start(site: Site, tls: &str) -> Self {
        Self::start_with(site, "auto_reload: false,", tls)
    }

    /// The same with more fields of the whole configuration, each with its comma.
    fn start_with(site: Site, fields: &str, tls: &str) -> Self {
        let address = free_address();
        site.write("apps/hello.luau", APP);
        configure(&site, address, fields, tls);
        let skep = site.start();
        skep.settled(WORKERS);
        Self { skep, address }
    }

    fn path(&self) -> &Path {
        self.skep.site.path()
    }

    /// curl with these arguments, trusting `authority`, with `name` leading to the server.
    fn curl(&self, authority: &str, name: &str, path: &str, more: &[&str]) -> Output {
        let port = self.address.port();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "60", "--http1.1", "--cacert"]).arg(self.path().join(authority));
        command.arg("--resolve").arg(format!("{name}:{port}:127.0.0.1")).args(more).arg(format!("https://{name}:{port}{path}"));
        command.current_dir(self.path()).output().expect("curl: tests/peers/tls.sh installs it")
    }

    fn asked(&self, authority: &str, name: &str, path: &str, more: &[&str]) -> String {
        let output = self.curl(authority, name, path, more);
        assert!(output.status.success(), "{name}{path}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// `openssl s_client`, which sends what it is given.
    fn client(&self, more: &[&str]) -> Child {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.address.to_string(), "-servername", "one.test"]).args(more);
        command.current_dir(self.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("openssl: tests/peers/tls.sh installs it")
    }

    /// The certificate that is shown.
    fn shown(&self) -> String {
        let output = self.once(&[]);
        let begin = output.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("no certificate: {output}"));
        let end = output.find("-----END CERTIFICATE-----").unwrap();
        output[begin..end].to_owned()
    }

    /// One request over `openssl s_client`; all that it wrote.
    fn once(&self, more: &[&str]) -> String {
        let mut client = self.client(&[more, &["-ign_eof"]].concat());
        client.stdin.take().unwrap().write_all(b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n").unwrap();
        text(&client.wait_with_output().unwrap().stdout)
    }
}

fn configure(site: &Site, address: SocketAddr, fields: &str, tls: &str) {
    let workers = format!("start: {WORKERS}, min: {WORKERS}, max: {WORKERS}, min_spare: 0, max_spare: {WORKERS}");
    let plain = site.address;
    site.write(
        "config.ron",
        &format!(
            "Config(\n    data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", log: (level: Warn), {fields}\n    \
             workers: ({workers}), admin: (listen: []),\n    \
             apps: {{\"hello\": Script(path: \"apps/hello.luau\"), \"files\": Files(root: \"public\")}},\n    servers: {{\n        \
             \"web\": Http(listen: [\"{plain}\"], routes: [(path: \"/\", app: \"hello\")]),\n        \
             \"secure\": Http(listen: [\"{address}\"], tls: ({tls}), max_body: \"1 GiB\", routes: [\n            \
             (path: \"/files\", app: \"files\"), (path: \"/\", app: \"hello\"),\n        ]),\n    }},\n)\n"
        ),
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl: tests/peers/tls.sh installs it");
    assert!(output.status.success(), "openssl {arguments}: {}", text(&output.stderr));
}

/// Ends a client that would wait for more.
fn end(mut client: Child) {
    client.kill().unwrap();
    client.wait().unwrap();
}

/// A certificate signed by itself, and its key, as `NAME.pem` and `NAME.key`.
fn certificate(folder: &Path, name: &str, names: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={name} -addext subjectAltName={names} \
             -keyout {name}.key.new -out {name}.pem.new"
        ),
    );
    // By renames: who reads them finds the old or the new.
    for kind in ["key", "pem"] {
        fs::rename(folder.join(format!("{name}.{kind}.new")), folder.join(format!("{name}.{kind}"))).unwrap();
    }
}

/// A site with a folder of files and one certificate.
fn site() -> Site {
    let site = Site::new();
    site.write("public/empty", "");
    certificate(site.path(), "one", "DNS:one.test");
    site
}

const ONE: &str = "certificate: \"one.pem\", key: \"one.key\"";

#[test]
fn both_versions_are_spoken_and_no_older_one() {
    let secure = Secure::start(site(), ONE);
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let more: Vec<&str> = version.split('=').collect();
        assert_eq!(secure.asked("one.pem", "one.test", "/", &more), format!("https one.test:{}", secure.address.port()), "{version}");
    }
    let old = secure.once(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(old.contains("Cipher is (NONE)"), "{old}");
    let modern = secure.once(&["-tls1_2"]);
    assert!(modern.contains("Protocol  : TLSv1.2") && modern.contains("https one.test"), "{modern}");
    // The end is told, so nobody takes a broken connection for it.
    assert!(!modern.contains("unexpected eof"), "{modern}");
    let mut plain = TcpStream::connect(secure.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks HTTPS"), "{answer}");
}

#[test]
fn only_the_newest_version_when_that_is_wanted() {
    let secure = Secure::start(site(), &format!("{ONE}, minimum: Tls13"));
    assert!(secure.once(&["-tls1_2"]).contains("Cipher is (NONE)"));
    assert!(secure.once(&["-tls1_3"]).contains("https one.test"));
}

#[test]
fn browsers_are_told_to_come_by_https_only_over_https() {
    // The option stands behind the block of the certificates.
    let secure = Secure::start(site(), &format!("{ONE}), hsts: (subdomains: true"));
    let told = secure.asked("one.pem", "one.test", "/", &["--include"]);
    assert!(told.contains("\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n"), "{told}");
    assert_eq!(told.matches("Strict-Transport-Security").count(), 1, "{told}");
}

#[test]
fn the_certificate_is_chosen_by_the_name() {
    let site = site();
    certificate(site.path(), "two", "DNS:two.test,DNS:*.two.test");
    let secure = Secure::start(site, &format!("{ONE}, others: [(certificate: \"two.pem\", key: \"two.key\")]"));
    for (authority, name) in [("one.pem", "one.test"), ("two.pem", "two.test"), ("two.pem", "a.two.test"), ("two.pem", "A.Two.Test")] {
        assert!(secure.asked(authority, name, "/", &[]).starts_with("https "), "{name}");
    }
    for name in ["three.test", "a.b.two.test", "one.test.evil"] {
        let output = secure.curl("two.pem", name, "/", &[]);
        assert_eq!(output.status.code(), Some(60), "{name}: {}", text(&output.stderr));
        let shown = secure.asked("one.pem", name, "/", &["--insecure", "--write-out", "%{http_code}"]);
        assert!(shown.ends_with("200"), "{name}: {shown}");
    }
}

#[test]
fn certificates_are_replaced_without_a_failed_request() {
    let site = site();
    let folder = site.path().to_owned();
    let secure = Secure::start(site, ONE);
    let before = secure.shown();
    // This connection goes on over the change.
    let mut kept = secure.client(&["-quiet"]);
    let (mut input, mut output) = (kept.stdin.take().unwrap(), kept.stdout.take().unwrap());
    let mut ask = || {
        input.write_all(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !text(&answer).ends_with("https one.test") {
            let mut piece = [0; 1024];
            let read = output.read(&mut piece).unwrap();
            assert!(read > 0, "the connection stays: {}", text(&answer));
            answer.extend_from_slice(&piece[..read]);
        }
    };
    ask();
    thread::scope(|scope| {
        let load = scope.spawn(|| (0..60).filter(|_| !secure.curl("one.pem", "one.test", "/", &["--insecure"]).status.success()).count());
        for _ in 0..3 {
            certificate(&folder, "one", "DNS:one.test");
            let said = secure.skep.order("update");
            assert!(text(&said.stdout).contains("certificates of server `secure` changed"), "{}", text(&said.stdout));
        }
        assert_eq!(load.join().unwrap(), 0, "requests that failed");
    });
    ask();
    assert_ne!(secure.shown(), before);
    assert!(secure.asked("one.pem", "one.test", "/", &[]).starts_with("https "), "the new one is shown");
    // One that does not fit its key changes nothing.
    certificate(&folder, "other", "DNS:other.test");
    fs::copy(folder.join("other.key"), folder.join("one.key")).unwrap();
    let refused = secure.skep.site.command("update").output().unwrap();
    assert!(!refused.status.success() && text(&refused.stderr).contains("the key belongs to another certificate"), "{refused:?}");
    assert!(secure.asked("one.pem", "one.test", "/", &[]).starts_with("https "));
    end(kept);
}

#[test]
fn a_certificate_that_is_renewed_is_noticed() {
    let secure = Secure::start_with(site(), "", ONE);
    let before = secure.shown();
    certificate(secure.path(), "one", "DNS:one.test");
    wait::until("the new certificate", || secure.shown() != before);
}

#[test]
fn keys_that_only_root_may_read_serve_who_is_not() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let site = site();
    let folder = site.path().to_owned();
    for (name, mode) in [("", 0o755), ("one.key", 0o600)] {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for name in ["apps", "public"] {
        fs::create_dir_all(folder.join("jail").join(name)).unwrap();
    }
    fs::write(folder.join("jail/apps/hello.luau"), APP).unwrap();
    let address = free_address();
    let fields = "user: \"nobody\", chroot: \"jail\", auto_reload: false,";
    configure(&site, address, fields, ONE);
    let jailed = fs::read_to_string(site.config()).unwrap();
    let jailed =
        jailed.replace("\"apps/", "\"jail/apps/").replace("\"public\"", "\"jail/public\"").replace("data: \"data\"", "data: \"jail/data\"");
    site.write("config.ron", &jailed);
    let secure = Secure { skep: site.start(), address };
    assert!(secure.asked("one.pem", "one.test", "/", &[]).starts_with("https "));
    // Workers that come later have never seen the file either.
    certificate(&folder, "one", "DNS:one.test");
    fs::set_permissions(folder.join("one.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for order in ["update", "reload"] {
        secure.skep.order(order);
        assert!(secure.asked("one.pem", "one.test", "/", &[]).starts_with("https "), "{order}");
    }
}

#[test]
fn tickets_open_in_every_worker_and_after_an_upgrade() {
    let secure = Secure::start(site(), ONE);
    let reused = |version: &str, session: &str| secure.once(&[version, "-sess_in", session]).contains("\nReused, ");
    for (version, session) in [("-tls1_3", "three"), ("-tls1_2", "two")] {
        let first = secure.once(&[version, "-sess_out", session]);
        assert!(first.contains("\nNew, "), "{first}");
        for round in 0..3 * WORKERS {
            assert!(reused(version, session), "{version} {round}");
        }
    }
    let before = secure.skep.processes();
    secure.skep.order("upgrade");
    wait::until("the old instance to end", || !secure.skep.processes().iter().any(|pid| before.contains(pid)));
    for (version, session) in [("-tls1_3", "three"), ("-tls1_2", "two")] {
        assert!(reused(version, session), "{version} after the upgrade");
    }
}

#[test]
fn bodies_stream_both_ways() {
    const SIZE: usize = 50 << 20;
    let site = site();
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 1000 % 251) as u8).collect();
    fs::write(site.path().join("public/large"), &bytes).unwrap();
    let secure = Secure::start(site, ONE);
    let counted = secure.asked("one.pem", "one.test", "/upload", &["--data-binary", "@public/large", "-H", "Expect:"]);
    assert_eq!(counted, SIZE.to_string());
    let output = secure.curl("one.pem", "one.test", "/files/large", &[]);
    assert!(output.status.success() && output.stdout == bytes, "{}", text(&output.stderr));
}

#[test]
fn websockets_are_spoken_over_tls() {
    let secure = Secure::start(site(), ONE);
    let mut client = secure.client(&["-quiet"]);
    let (mut input, mut output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let head = "GET / HTTP/1.1\r\nHost: one.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    input.write_all(head.as_bytes()).unwrap();
    // A masked text frame (RFC 6455 §5.2) with a mask of zeros.
    input.write_all(b"\x81\x85\0\0\0\0hello").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x81\x0bheard hello") {
        let mut piece = [0; 1024];
        let read = output.read(&mut piece).unwrap();
        assert!(read > 0, "{}", text(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(text(&answer).starts_with("HTTP/1.1 101 "));
    end(client);
}

#[test]
fn slow_handshakes_are_cut_and_disturb_nobody() {
    let secure = Secure::start(site(), &format!("{ONE}, handshake: \"1s\""));
    let mut silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(secure.address).unwrap()).collect();
    // Half of them begin as TLS does, and go no further.
    silent.iter_mut().step_by(2).for_each(|stream| stream.write_all(&[0x16, 3, 1]).unwrap());
    assert!(secure.asked("one.pem", "one.test", "/", &[]).starts_with("https "));
    for stream in &mut silent {
        stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        // An alert may come first, then the end.
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
    }
    let open = || secure.skep.status().workers.iter().map(|worker| worker.connections).sum::<u64>();
    wait::until("all to be closed", || open() == 0);
}

#[test]
fn what_is_wrong_with_certificates_is_said_with_its_place() {
    let site = site();
    certificate(site.path(), "two", "DNS:two.test");
    site.write("apps/hello.luau", APP);
    site.write("not.pem", "nothing of that kind");
    let address = free_address();
    for (tls, place, said) in [
        ("certificate: \"gone.pem\", key: \"one.key\"", "certificate", "gone.pem"),
        ("certificate: \"one.pem\", key: \"two.key\"", "two.key", "the key belongs to another certificate"),
        ("certificate: \"not.pem\", key: \"one.key\"", "not.pem", "no certificate in PEM form"),
        ("certificate: \"one.pem\", key: \"one.pem\"", "one.pem", "no private key in PEM form"),
        ("certificate: \"one.pem\"", "tls", "it must be said which file"),
        ("certificate: \"one.pem\", key: \"one.key\", clients: \"not.pem\"", "not.pem", "no certificate in PEM form"),
        ("certificate: \"one.pem\", key: \"one.key\", handshake: \"1h\"", "handshake", "1h"),
    ] {
        configure(&site, address, "", tls);
        let output = site.command("configtest").output().unwrap();
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{tls}: {text}");
        assert!(text.contains(place) && text.contains(said) && text.contains("config.ron:"), "{tls}: {text}");
    }
    configure(&site, address, "", ONE);
    assert!(site.command("configtest").output().unwrap().status.success());
}

#[test]
fn certificates_that_expire_are_told_in_time() {
    let site = site();
    let folder = site.path().to_owned();
    openssl(
        &folder,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=two -addext subjectAltName=DNS:two.test,IP:::1 -keyout two.key -out two.csr",
    );
    let ends_in =
        |days: &str| openssl(&folder, &format!("x509 -req -in two.csr -key two.key -copy_extensions copy -days {days} -out two.pem"));
    let address = free_address();
    site.write("apps/hello.luau", APP);
    let tested = |said: &str| {
        configure(&site, address, "", &format!("{ONE}, others: [(certificate: \"two.pem\", key: \"two.key\")]"));
        let output = site.command("configtest").output().unwrap();
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.contains("warning") && text.contains("config.ron:"), !said.is_empty(), "{text}");
        assert!(text.contains(said), "{text}");
    };
    ends_in("16");
    tested("");
    ends_in("-1");
    tested("two.pem has expired on 20");
    ends_in("6");
    tested("two.pem expires in ");
    let skep = site.start();
    skep.settled(WORKERS);
    let served = skep.status().master.certificates;
    let days: Vec<_> = served.iter().map(|served| (served.names.join(" "), served.days_left)).collect();
    // The second in which they were made may have passed.
    assert!(matches!(days.as_slice(), [(one, 29 | 30), (two, 5 | 6)] if one == "one.test" && two == "two.test ::1"), "{served:?}");
    let shown = text(&skep.site.command("status").output().unwrap().stdout);
    assert!(shown.contains("two.test, ::1 until 20") && shown.contains(" days left)"), "{shown}");
    let warned = "two.pem (two.test, ::1) expires in ";
    wait::until("the log to warn of it", || skep.output().contains(warned));
    assert_eq!(skep.output().matches(warned).count(), 1, "once a machine: {}", skep.output());
    assert!(!skep.output().contains("one.pem ("), "{}", skep.output());
    // With level Warn the log has what a saved configuration had better not say, and so has whoever asks for the update.
    let warned = "two.pem expires in ";
    configure(&skep.site, address, "dev: true,", &format!("{ONE}, others: [(certificate: \"two.pem\", key: \"two.key\")]"));
    wait::until("the log to warn of it again", || skep.output().lines().any(|line| line.contains(" WARN ") && line.contains(warned)));
    configure(&skep.site, address, "dev: false,", &format!("{ONE}, others: [(certificate: \"two.pem\", key: \"two.key\")]"));
    let output = skep.site.command("update").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    // It may have been taken up by itself before.
    let (said, answer) = (text(&output.stderr), text(&output.stdout));
    assert!(said.contains("warning: ") && said.contains(warned) || answer.contains("nothing"), "{said}{answer}");
}
