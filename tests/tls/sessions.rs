//! Sessions that go on over workers, an upgrade and new keys; handshakes at once.

use std::fs;
use std::net::TcpStream;

use crate::support::wait;
use crate::{ONE, Secure, WORKERS, site};

const BOTH: [&str; 2] = ["-tls1_3", "-tls1_2"];

impl Secure {
    /// Begins a session; its ticket lies in a file.
    fn begin(&self, version: &str) -> String {
        let file = format!("session{version}");
        let begun = self.once(&[version, "-sess_out", &file]);
        assert!(begun.contains("https one.test"), "{begun}");
        file
    }

    /// Whether the session goes on.
    fn goes_on(&self, version: &str, file: &str) -> bool {
        let again = self.once(&[version, "-sess_in", file]);
        assert!(again.contains("https one.test"), "{version}: a whole handshake at least: {again}");
        again.contains("\nReused, ")
    }
}

#[test]
fn a_session_goes_on_in_every_worker_and_over_an_upgrade() {
    let secure = Secure::start(site(), ONE);
    let sessions = BOTH.map(|version| (version, secure.begin(version)));
    let resumed = || secure.skep.status().workers.iter().filter(|worker| worker.tls.resumed > 0).count();
    wait::until("every worker to resume one", || {
        for (version, file) in &sessions {
            assert!(secure.goes_on(version, file), "{version}");
        }
        resumed() == WORKERS
    });
    let before = secure.skep.processes();
    secure.skep.order("upgrade");
    wait::until("the old instance to end", || !secure.skep.processes().iter().any(|pid| before.contains(pid)));
    secure.skep.settled(WORKERS);
    for (version, file) in &sessions {
        assert!(secure.goes_on(version, file), "{version}, by an instance that has never seen it");
    }
}

#[test]
fn old_keys_open_nothing_any_more() {
    let secure = Secure::start_with(site(), "auto_reload: false, session_keys: \"2s\",", ONE);
    for version in BOTH {
        let file = secure.begin(version);
        wait::until(format!("{version}: the end of its key"), || !secure.goes_on(version, &file));
        // The new key makes sessions that go on.
        wait::until(format!("{version}: a session that goes on"), || secure.goes_on(version, &secure.begin(version)));
    }
    let told = fs::read_to_string(secure.path().join("output.log")).unwrap();
    assert!(!told.contains("no new key"), "{told}");
}

#[test]
fn handshakes_at_once_are_limited_and_those_that_wait_are_served() {
    const MOST: usize = 4;
    let secure = Secure::start(site(), &format!("{ONE}, handshake: \"1s\", max_handshakes: {MOST}"));
    let silent: Vec<TcpStream> = (0..4 * MOST * WORKERS).map(|_| TcpStream::connect(secure.address).unwrap()).collect();
    let sum =
        |which: fn(&skep::scoreboard::TlsStatus) -> u64| secure.skep.status().workers.iter().map(|worker| which(&worker.tls)).sum::<u64>();
    wait::until("as many as may be", || {
        let most = secure.skep.status().workers.iter().map(|worker| worker.tls.under_way).max();
        assert!(most <= Some(MOST as u64), "{most:?}");
        sum(|tls| tls.full) > 0
    });
    assert!(secure.asked("one.pem", "one.test", "/", &[]).starts_with("https "), "behind those that were cut");
    wait::until("all to be cut", || sum(|tls| tls.under_way) == 0 && sum(|tls| tls.failed) == silent.len() as u64);
    assert_eq!(sum(|tls| tls.done), 1);
    assert!(secure.skep.output().contains("4 TLS handshakes are under way at once (`max_handshakes`)"), "{}", secure.skep.output());
    let shown = secure.skep.order("status");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("handshakes 1 (0 of them resumed sessions), 48 failed"), "{shown:?}");
}
