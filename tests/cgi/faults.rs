//! PHP-FPM is killed under load: whom it was answering hears of it at once, nobody else notices, and nothing is left.

use std::fs;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, Scope, ScopedJoinHandle};

use nix::sys::signal::Signal;

use crate::fpm::Fpm;
use crate::support::client::{Client, Reply, get};
use crate::support::server::{Site, Skep, descriptors, free_address, is_gone, send};
use crate::support::steady::Steady;
use crate::support::wait;

/// How many processes PHP-FPM has.
const PROCESSES: usize = 4;

/// What goes to a temporary file before the program starts.
const COLLECTED: usize = 600_000;

/// skep before PHP-FPM, with one worker and a route that has nothing to do with it.
struct Behind {
    skep: Skep,
    fpm: Fpm,
    worker: i32,
}

impl Behind {
    /// `listen` is what PHP-FPM calls its address, `address` what skep does.
    fn start(site: Site, listen: &str, address: &str, options: &str) -> Self {
        site.write("www/quick.php", "<?php echo 'quick ', strlen(file_get_contents('php://input'));");
        site.write("www/waits.php", "<?php file_put_contents('waiting', getmypid() . \"\\n\", FILE_APPEND); sleep(100000);");
        site.write("www/half.php", "<?php echo 'half'; while (ob_get_level()) ob_end_flush(); flush(); posix_kill(getmypid(), 9);");
        let fpm = Fpm::start(site.path(), listen, PROCESSES);
        site.configure(
            "start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1",
            &format!("\"php\": FastCgiUpstream(address: \"{address}\", root: \"{}/www\", {options})", site.path().display()),
            "(path: \"/php\", app: \"php\"), (path: \"/\", reply: (body: \"own\"))",
        );
        let skep = site.start();
        let worker = skep.settled(1).workers[0].pid;
        Self { skep, fpm, worker }
    }

    fn get(&self, path: &str) -> io::Result<Reply> {
        get(self.skep.address(), path)
    }

    fn is_quick(&self) -> bool {
        self.get("/php/quick.php").is_ok_and(|reply| is_quick(&reply))
    }

    /// The processes that run a program that waits, in their order.
    fn waiting(&self) -> Vec<i32> {
        let told = fs::read_to_string(self.skep.site.path().join("www/waiting")).unwrap_or_default();
        told.lines().map(|pid| pid.parse().expect("a process id")).collect()
    }

    /// Begins a request to such a program, with a body that is collected in a file, and gives its process.
    fn wait(&self) -> (Client, i32) {
        let before = self.waiting().len();
        let mut client = Client::connect(self.skep.address()).expect("a connection");
        upload(&mut client, "/php/waits.php");
        wait::until("the program to run", || self.waiting().len() > before);
        (client, self.waiting()[before])
    }

    /// Connections to PHP-FPM that are kept. The worker shows them, and whether requests are under way.
    fn kept(&self) -> usize {
        let mut kept = 0;
        wait::until("the requests to be over", || {
            let upstream = self.skep.status().upstreams.into_iter().find(|one| one.app == "php").expect("a server");
            kept = usize::try_from(upstream.idle).expect("a number");
            upstream.active == 0
        });
        kept
    }
}

fn upload(client: &mut Client, path: &str) {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{COLLECTED:x}\r\n");
    let all = [head.as_bytes(), &vec![b'x'; COLLECTED], b"\r\n0\r\n\r\n"].concat();
    client.send(&all).expect("sent");
}

fn is_quick(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == b"quick 0"
}

/// Clients that ask PHP-FPM on and on, each time by a connection of its own.
struct Load<'scope> {
    stop: &'scope AtomicBool,
    clients: Vec<ScopedJoinHandle<'scope, Vec<io::Result<Reply>>>>,
}

impl<'scope> Load<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, behind: &Behind, stop: &'scope AtomicBool) -> Self {
        let address = behind.skep.address();
        stop.store(false, SeqCst);
        let ask = move || {
            let mut got = Vec::new();
            while !stop.load(SeqCst) {
                got.push(get(address, "/php/quick.php"));
            }
            got
        };
        Self { stop, clients: (0..3).map(|_| scope.spawn(ask)).collect() }
    }

    /// How many answers were right. The others must be 502.
    fn stop(mut self) -> (usize, usize) {
        self.stop.store(true, SeqCst);
        let clients = std::mem::take(&mut self.clients);
        let got: Vec<_> = clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect();
        let right = got.iter().filter(|reply| reply.as_ref().is_ok_and(is_quick)).count();
        let told = |reply: &&io::Result<Reply>| !reply.as_ref().is_ok_and(|reply| is_quick(reply) || reply.status == 502);
        assert!(!got.iter().any(|reply| told(&reply)), "{:?}", got.iter().find(told));
        (right, got.len() - right)
    }
}

impl Drop for Load<'_> {
    /// They would go on for ever after a case that has failed.
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

fn killed(behind: &mut Behind) {
    let mut client = Client::connect(behind.skep.address()).expect("a connection");
    upload(&mut client, "/php/quick.php");
    assert_eq!(client.read_reply().expect("a reply").text(), format!("quick {COLLECTED}"));
    drop(client);
    let before = descriptors(behind.worker) - behind.kept();
    let others = Steady::start(behind.skep.address(), "/", |reply| reply.body == b"own", 1, 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Single processes: only who waits for one of them hears of it. More of them than may be asked at once.
        let load = Load::start(scope, behind, &stop);
        for _ in 0..20 {
            let (mut client, pid) = behind.wait();
            send(pid, Signal::SIGKILL);
            assert_eq!(client.read_reply().expect("a reply").status, 502);
            wait::until("the end of the process", || is_gone(pid));
        }
        let (right, wrong) = load.stop();
        assert!(right > 20 && wrong == 0, "{right} right, {wrong} wrong");
        // All of them at once.
        let load = Load::start(scope, behind, &stop);
        for _ in 0..5 {
            let processes = behind.fpm.processes();
            processes.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
            wait::until("others", || behind.is_quick() && !behind.fpm.processes().iter().any(|pid| processes.contains(pid)));
        }
        let (right, wrong) = load.stop();
        assert!(right > 0 && wrong <= 5 * 3, "{right} right, {wrong} wrong");
        // The master with all of them, and nobody is there for a while.
        let load = Load::start(scope, behind, &stop);
        let mut waiting: Vec<Client> = (0..PROCESSES - 1).map(|_| behind.wait().0).collect();
        behind.fpm.kill();
        for client in &mut waiting {
            assert_eq!(client.read_reply().expect("a reply").status, 502);
        }
        assert_eq!(behind.get("/php/quick.php").expect("a reply").status, 502);
        others.answered(20);
        behind.fpm.restart();
        wait::until("PHP-FPM to be found again", || behind.is_quick());
        load.stop();
        let load = Load::start(scope, behind, &stop);
        (0..20).for_each(|_| assert!(behind.is_quick()));
        assert_eq!(load.stop().1, 0, "all is well again");
    });
    let others = others.stop();
    assert!(others.failures.is_empty(), "{:?}", others.failures);
    let half = behind.get("/php/half.php").expect_err("an answer that breaks off");
    assert_eq!(half.kind(), ErrorKind::UnexpectedEof);
    wait::until("the descriptors to be closed", || descriptors(behind.worker) <= before + behind.kept());
    let uploads = fs::read_dir(behind.skep.site.path().join("data/uploads")).map_or(0, Iterator::count);
    assert_eq!(uploads, 0, "temporary files are left");
    assert_eq!(behind.skep.settled(1).workers[0].pid, behind.worker);
}

#[test]
fn a_killed_php_fpm_costs_what_it_was_doing_and_nothing_else() {
    let site = Site::new();
    let socket = format!("{}/fpm.sock", site.path().display());
    let mut behind = Behind::start(site, &socket, "unix:fpm.sock", "");
    killed(&mut behind);
    assert_eq!(behind.kept(), 0);
}

#[test]
fn and_so_it_does_over_kept_connections() {
    let address = free_address();
    // By a name, which is looked up each time.
    killed(&mut Behind::start(Site::new(), &address.to_string(), &format!("php.localhost:{}", address.port()), "max_idle: 1"));
}

#[test]
fn more_requests_than_php_fpm_has_processes_wait_for_each_other_only() {
    let site = Site::new();
    let socket = format!("{}/fpm.sock", site.path().display());
    let behind = Behind::start(site, &socket, "unix:fpm.sock", "");
    // The last of them would come after `timeouts.idle` if connections were kept.
    thread::scope(|scope| {
        let asked: Vec<_> = (0..4 * PROCESSES).map(|_| scope.spawn(|| behind.is_quick())).collect();
        assert!(asked.into_iter().all(|asked| asked.join().expect("a reply")));
    });
}
