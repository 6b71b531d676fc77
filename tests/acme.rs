//! Certificates by ACME from Pebble, the authority for tests by those who run Let's Encrypt.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use support::server::{Site, Skep, free_address, is_gone, send};
use support::{client, wait};

const WORKERS: usize = 3;
const NAMES: [&str; 2] = ["one.test", "two.test"];

/// An authority, with a name server that says that every name leads here.
struct Pebble {
    /// For the servers whose certificate it gives.
    secure: [SocketAddr; 2],
    directory: SocketAddr,
    names: SocketAddr,
    children: Vec<Child>,
}

impl Pebble {
    /// `seconds`: how long its certificates hold; `rejected`: how many of a hundred nonces it does not know any more. It asks where the site's plain
    /// server is, and within handshakes at the first of the secure ones.
    fn start(site: &Site, seconds: u32, rejected: u32) -> Self {
        let peer = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(name);
        assert!(peer("pebble").exists() && peer("pebble-challtestsrv").exists(), "there is no Pebble: tests/peers/acme.sh builds it");
        let (directory, management, names, dns) = (free_address(), free_address(), free_address(), free_address());
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        site.write("roots.pem", &authority.pem());
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &Issuer::from_params(&params, &authority_key)).unwrap();
        site.write("pebble.pem", &own.pem());
        site.write("pebble.key", &key.serialize_pem());
        let secure = [free_address(), free_address()];
        let (port, tls_port) = (site.address.port(), secure[0].port());
        site.write(
            "pebble.json",
            &format!(
                r#"{{"pebble": {{"listenAddress": "{directory}", "managementListenAddress": "{management}", "certificate": "pebble.pem",
                "privateKey": "pebble.key", "httpPort": {port}, "tlsPort": {tls_port}, "ocspResponderURL": "", "externalAccountBindingRequired": false,
                "retryAfter": {{"authz": 1, "order": 1}}, "keyAlgorithm": "ecdsa",
                "profiles": {{"default": {{"description": "for tests", "validityPeriod": {seconds}}}}}}}}}"#
            ),
        );
        let start = |command: &mut Command| {
            command.current_dir(site.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let none = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"];
        let servers = ["-dnsserver".to_owned(), dns.to_string(), "-management".to_owned(), names.to_string()];
        let resolver = start(Command::new(peer("pebble-challtestsrv")).args(none).args(servers));
        let pebble = start(
            Command::new(peer("pebble"))
                .args(["-config", "pebble.json", "-dnsserver", &dns.to_string()])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env("PEBBLE_WFE_NONCEREJECT", rejected.to_string()),
        );
        let started = Self { secure, directory, names, children: vec![resolver, pebble] };
        for address in [directory, names] {
            wait::until("the authority", || std::net::TcpStream::connect(address).is_ok());
        }
        started
    }

    /// Says that a name leads to this address only.
    fn lead(&self, name: &str, to: &str) {
        let body = format!(r#"{{"host": "{name}.", "addresses": ["{to}"]}}"#);
        for (path, body) in [("clear-a", format!(r#"{{"host": "{name}."}}"#)), ("add-a", body)] {
            let output =
                Command::new("curl").args(["--silent", "--fail", "--data", &body]).arg(format!("http://{}/{path}", self.names)).output();
            assert!(output.unwrap().status.success(), "{path}");
        }
    }

    fn acme(&self, challenge: &str) -> String {
        format!(
            "acme: (domains: {NAMES:?}, contact: \"mailto:somebody@one.test\", directory: \"https://localhost:{}/dir\", agree: true, challenge: {challenge}, roots: \"roots.pem\")",
            self.directory.port()
        )
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A site with two servers that show the same certificate.
struct Ordered {
    skep: Skep,
    secure: [SocketAddr; 2],
}

fn configure(site: &Site, secure: [SocketAddr; 2], tls: &str) {
    let workers = format!("start: {WORKERS}, min: {WORKERS}, max: {WORKERS}, min_spare: 0, max_spare: {WORKERS}");
    let plain = site.address;
    let routes = "routes: [(path: \"/\", reply: (body: \"here\"))]";
    let [one, two] = secure;
    site.write(
        "config.ron",
        &format!(
            "Config(\n    data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", log: (level: Info), auto_reload: false,\n    \
             workers: ({workers}), admin: (listen: []),\n    servers: {{\n        \
             \"one\": Http(listen: [\"{one}\"], tls: ({tls}), {routes}),\n        \
             \"two\": Http(listen: [\"{two}\"], tls: ({tls}), {routes}),\n        \
             \"web\": Http(listen: [\"{plain}\"], {routes}),\n    }},\n)\n"
        ),
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Ordered {
    fn start(site: Site, pebble: &Pebble, challenge: &str) -> Self {
        let secure = pebble.secure;
        configure(&site, secure, &pebble.acme(challenge));
        let skep = site.start();
        skep.settled(WORKERS);
        Self { skep, secure }
    }

    /// The certificate that is shown, as `openssl` prints it.
    fn shown(&self, server: usize) -> String {
        let output = Command::new("openssl")
            .args(["s_client", "-servername", NAMES[0], "-connect", &self.secure[server].to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("openssl: tests/peers/tls.sh installs it");
        let output = text(&output.stdout);
        let begin = output.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("no certificate: {output}"));
        let end = output.find("-----END CERTIFICATE-----").unwrap();
        output[begin..end].to_owned()
    }

    /// One request on a connection of its own, whoever the certificate is of.
    fn asked(&self, server: usize) -> Output {
        let url = format!("https://{}/", self.secure[server]);
        Command::new("curl").args(["--silent", "--show-error", "--insecure", "--max-time", "20", &url]).output().unwrap()
    }

    fn state(&self) -> String {
        self.skep.status().master.orders.first().map_or(String::new(), |order| order.state.clone())
    }

    fn is_served(&self) -> bool {
        self.state() == "served" && !self.skep.status().master.certificates.is_empty()
    }

    fn ordered(&self) -> usize {
        self.skep.output().matches("was ordered from").count()
    }
}

#[test]
fn certificates_are_ordered_and_renewed_without_a_failed_handshake() {
    let site = Site::new();
    let pebble = Pebble::start(&site, 24, 5);
    let site = Ordered::start(site, &pebble, "Http01");
    wait::until("a certificate", || site.is_served());
    let served = site.skep.status().master.certificates;
    assert_eq!((served.len(), served[0].names.clone()), (1, NAMES.map(str::to_owned).to_vec()), "{served:?}");
    let first = site.shown(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load: Vec<_> = (0..2)
            .map(|server| {
                let (site, over) = (&site, &over);
                scope.spawn(move || {
                    let (mut shaken, mut failed) = (0, Vec::new());
                    while !over.load(Ordering::Relaxed) {
                        let output = site.asked(server);
                        shaken += 1;
                        if text(&output.stdout) != "here" {
                            failed.push(text(&output.stderr));
                        }
                    }
                    (shaken, failed)
                })
            })
            .collect();
        wait::within(Duration::from_secs(90), "two renewals", || site.ordered() >= 3 && site.is_served());
        over.store(true, Ordering::Relaxed);
        for one in load {
            let (shaken, failed) = one.join().unwrap();
            assert_eq!(failed, Vec::<String>::new(), "of {shaken} handshakes");
            assert!(shaken > 50, "{shaken} handshakes are no load");
        }
    });
    let file = fs::read_dir(site.skep.site.path().join("data/acme")).unwrap().map(|entry| entry.unwrap().path());
    for file in file.filter(|path| path.is_file()) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    // Every worker of both servers has the same one.
    let shown: Vec<String> = (0..8 * WORKERS).map(|round| site.shown(round % 2)).collect();
    let kinds = shown.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(!shown.contains(&first) && kinds <= 2, "{kinds} certificates");
    assert_eq!(client::get(site.skep.address(), "/.well-known/acme-challenge/unknown").unwrap().status, 404);
}

#[test]
fn names_are_shown_to_lead_here_within_handshakes() {
    let site = Site::new();
    let pebble = Pebble::start(&site, 24, 5);
    // Nothing is to be had over HTTP.
    let site = Ordered::start(site, &pebble, "TlsAlpn01");
    wait::until("a certificate", || site.is_served());
    assert_eq!(site.skep.status().master.certificates[0].names, NAMES);
    let first = site.shown(0);
    // Who asks for the proof of a name of which no certificate is ordered just now gets none, and others are served as ever.
    let asks = |name: &str| {
        let output = Command::new("openssl")
            .args(["s_client", "-alpn", "acme-tls/1", "-servername", name, "-connect", &site.secure[0].to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        text(&output.stdout)
    };
    for name in ["three.test", "one.test"] {
        assert!(!asks(name).contains("BEGIN CERTIFICATE"), "{name}");
    }
    assert_eq!(client::get(site.skep.address(), "/.well-known/acme-challenge/one.test").unwrap().body, b"here", "an application's path");
    let (mut shaken, mut failed) = (0, Vec::new());
    wait::within(Duration::from_secs(90), "a renewal", || {
        let output = site.asked(shaken % 2);
        shaken += 1;
        if text(&output.stdout) != "here" {
            failed.push(text(&output.stderr));
        }
        site.ordered() >= 2 && site.is_served() && site.shown(1) != first
    });
    assert_eq!(failed, Vec::<String>::new(), "of {shaken} handshakes");
}

#[test]
fn what_was_ordered_outlives_restarts_and_upgrades() {
    let site = Site::new();
    // A third of all nonces is refused.
    let pebble = Pebble::start(&site, 90 * 24 * 60 * 60, 33);
    let mut site = Ordered::start(site, &pebble, "Http01");
    wait::until("a certificate", || site.is_served());
    let first = site.shown(0);
    for order in ["reload", "upgrade"] {
        let before = site.skep.processes();
        site.skep.order(order);
        if order == "upgrade" {
            wait::until("the old instance to end", || !site.skep.processes().iter().any(|pid| before.contains(pid)));
        }
        assert_eq!(site.shown(1), first, "{order}");
    }
    let hub = site.skep.status().hub.unwrap().pid;
    send(hub, Signal::SIGKILL);
    wait::until("another hub", || site.skep.status().hub.is_some_and(|new| new.pid != hub) && site.is_served());
    let Ordered { skep, secure } = site;
    // Who would order anew now could not.
    drop(pebble);
    site = Ordered { skep: skep.into_site().start(), secure };
    assert_eq!(site.shown(0), first, "after a restart");
    wait::until("the hub to say so", || site.is_served());
    assert_eq!(site.ordered(), 1, "{}", site.skep.output());
    assert!(text(&site.skep.order("status").stdout).contains("one.test, two.test: served"));
}

#[test]
fn it_is_ordered_without_any_rights_and_from_inside_a_chroot() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let pebble = Pebble::start(&site, 90 * 24 * 60 * 60, 5);
    let folder = site.path().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.join("jail")).unwrap();
    let secure = pebble.secure;
    configure(&site, secure, &pebble.acme("Http01"));
    let text = fs::read_to_string(site.config()).unwrap();
    site.write("config.ron", &text.replace("data: \"data\"", "user: \"nobody\", chroot: \"jail\", data: \"jail/data\""));
    let site = Ordered { skep: site.start(), secure };
    wait::until("a certificate", || site.is_served());
    assert_eq!(site.skep.status().master.certificates[0].names, NAMES);
    // What only root may read is not taken from there.
    let file = fs::read_dir(folder.join("jail/data/acme")).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "pem")).unwrap();
    let before = site.shown(0);
    fs::copy(&file, folder.join("roots.only")).unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(folder.join("roots.only"), &file).unwrap();
    let output = site.skep.site.command("configtest").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("until another is there"), "{output:?}");
    assert_eq!(site.shown(1), before);
}

#[test]
fn an_order_that_fails_is_told_and_tried_again() {
    let site = Site::new();
    let pebble = Pebble::start(&site, 90 * 24 * 60 * 60, 5);
    pebble.lead("two.test", "127.0.0.77");
    let site = Ordered::start(site, &pebble, "Http01");
    wait::until("the order to fail", || site.state() == "failed");
    let order = site.skep.status().master.orders.remove(0);
    let error = order.error.unwrap();
    assert!(error.contains("two.test could not be shown to lead here") && error.contains("port 80 must be open"), "{error}");
    assert!(order.next.is_some() && order.failures == 1);
    assert!(site.skep.output().contains("no certificate for one.test, two.test: two.test could not be shown"), "{}", site.skep.output());
    assert!(text(&site.skep.order("status").stdout).contains("the next order is made at 20"));
    assert_eq!(text(&site.asked(0).stdout), "here", "it serves all the same");
    assert!(site.skep.status().master.certificates.is_empty());
    pebble.lead("two.test", "127.0.0.1");
    wait::within(Duration::from_secs(90), "the next order", || site.is_served());
    let order = site.skep.status().master.orders.remove(0);
    assert_eq!((order.failures, order.error), (0, None));
}

#[test]
fn a_restart_does_not_make_a_failing_order_again_before_its_time() {
    let site = Site::new();
    let pebble = Pebble::start(&site, 90 * 24 * 60 * 60, 5);
    pebble.lead("two.test", "127.0.0.77");
    let site = Ordered::start(site, &pebble, "Http01");
    wait::until("the order to fail", || site.state() == "failed");
    let before = site.skep.status().master.orders.remove(0);
    let Ordered { skep, secure } = site;
    let mut site = Ordered { skep: skep.into_site().start(), secure };
    wait::until("the wait to go on", || site.state() == "failed");
    let after = site.skep.status().master.orders.remove(0);
    assert_eq!((after.failures, &after.error), (1, &before.error));
    // To the second in which it is written down.
    let minute = |next: &Option<String>| next.as_deref().map(|next| next[..16].to_owned());
    assert!(minute(&after.next).is_some_and(|next| next >= minute(&before.next).unwrap()), "{before:?} {after:?}");
    assert_eq!(site.skep.output().matches("no certificate for one.test, two.test: ").count(), 1, "{}", site.skep.output());
    // Neither does another hub.
    let hub = site.skep.status().hub.unwrap().pid;
    send(hub, Signal::SIGKILL);
    wait::until("another hub", || site.skep.status().hub.is_some_and(|new| new.pid != hub) && site.state() == "failed");
    assert_eq!(site.skep.output().matches("no certificate for one.test, two.test: ").count(), 1, "{}", site.skep.output());
    // Who puts it right and says so waits no longer.
    pebble.lead("two.test", "127.0.0.1");
    let changed = pebble.acme("Http01").replace("somebody@one.test", "another@one.test");
    configure(&site.skep.site, site.secure, &changed);
    site.skep.order("update");
    wait::until("the certificate", || site.is_served());
    let Ordered { skep, secure } = site;
    site = Ordered { skep: skep.into_site().start(), secure };
    wait::until("the same after a restart", || site.is_served());
    assert_eq!((site.ordered(), site.skep.status().master.orders[0].failures), (1, 0));
}

#[test]
fn of_two_instances_during_an_upgrade_one_orders() {
    let site = Site::new();
    let pebble = Pebble::start(&site, 90 * 24 * 60 * 60, 5);
    // Whoever has this lock orders: nobody, for now.
    let directory = format!("https://localhost:{}/dir", pebble.directory.port());
    let acme = skep::net::acme::Acme { domains: NAMES.map(str::to_owned).to_vec(), directory, ..Default::default() };
    let file = acme.certificate_file(&site.path().join("data")).with_extension("lock");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let lock = Flock::lock(fs::File::create(&file).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    let site = Ordered::start(site, &pebble, "Http01");
    assert_eq!(site.state(), "ordering");
    let old = site.skep.status().hub.unwrap().pid;
    // A request that has begun keeps the old instance while the new one serves.
    let mut begun = client::Client::connect(site.skep.address()).unwrap();
    begun.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    site.skep.order("upgrade");
    wait::until("two hubs", || site.skep.status().hub.is_some_and(|new| new.pid != old) && site.state() == "ordering");
    assert!(!is_gone(old) && site.ordered() == 0, "{}", site.skep.output());
    drop(lock);
    wait::until("a certificate", || site.is_served());
    drop(begun);
    wait::until("the old instance to end", || is_gone(old));
    assert_eq!(site.ordered(), 1, "{}", site.skep.output());
    assert_eq!(site.shown(0), site.shown(1));
}

#[test]
fn what_no_authority_would_give_is_refused_with_its_place() {
    let site = Site::new();
    let secure = [free_address(), free_address()];
    for (acme, place, said) in [
        ("domains: [\"one.test\"]", "acme", "agree"),
        ("domains: [], agree: true", "domains", "1 to 100 names"),
        ("domains: [\"*.one.test\"], agree: true", "*.one.test", "a wildcard cannot be shown to lead here"),
        ("domains: [\"127.0.0.1\"], agree: true", "127.0.0.1", "for an address cannot be ordered"),
        ("domains: [\"::1\"], agree: true", "::1", "for an address cannot be ordered"),
        ("domains: [\"one\"], agree: true", "one", "no public host name"),
        ("domains: [\"one.test\", \"ONE.test\"], agree: true", "ONE.test", "twice"),
        ("domains: [\"one.test\"], agree: true, contact: \"me\"", "contact", "mailto:"),
        ("domains: [\"one.test\"], agree: true, directory: \"http://one.test/\"", "directory", "over https only"),
        ("domains: [\"one.test\"], agree: true, challenge: Dns01", "Dns01", "Http01"),
        ("domains: [\"one.test\"], agree: true, roots: \"gone.pem\"", "roots", "gone.pem"),
        (
            "domains: [\"one.test\"], agree: true), certificate: \"one.pem\", others: (",
            "certificate",
            "with `acme` there is no `certificate`",
        ),
    ] {
        let tls = format!("acme: ({acme})").replace("others: ()", "others: []");
        configure(&site, secure, &tls);
        let output = site.command("configtest").output().unwrap();
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{acme}: {text}");
        assert!(text.contains(place) && text.contains(said) && text.contains("config.ron:"), "{acme}: {text}");
    }
    configure(&site, secure, "acme: (domains: [\"one.test\"], agree: true)");
    let output = site.command("configtest").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains("the authority will ask on port 80"), "{output:?}");
    configure(&site, secure, "acme: (domains: [\"one.test\"], agree: true, challenge: TlsAlpn01)");
    let output = site.command("configtest").output().unwrap();
    assert!(text(&output.stderr).contains("the authority will ask on port 443, where no server with TLS listens here"), "{output:?}");
}
