//! What is asked: one application with everything that a case looks at, behind one way in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::exchange::{Announced, Asked, Exchange, read};
use crate::fronts::Front;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::support::client::Reply;
use crate::support::server::{Site, Skep, free_address};
use crate::support::wait;

/// How a request comes to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http1,
    Http2,
    /// skep's own, in front of its own server of HTTP/1.1.
    Proxy,
    Nginx,
    Apache,
    HaProxy,
    /// HAProxy that keeps its connections and has several requests on each.
    Multiplexed,
}

impl Way {
    /// A web server stands in front that asks by FastCGI.
    pub fn is_fastcgi(self) -> bool {
        matches!(self, Self::Nginx | Self::Apache | Self::HaProxy | Self::Multiplexed)
    }

    pub fn is_haproxy(self) -> bool {
        matches!(self, Self::HaProxy | Self::Multiplexed)
    }

    /// Whether we hear of a client that has left while we make its answer. Apache looks at its client only when it has something for it. HAProxy sends
    /// `FCGI_ABORT_REQUEST` only for a request whose body has not come whole (`fcgi_do_shutr`), and else tells by closing a connection that it does
    /// not keep. With both the answer is made, for nobody.
    pub fn tells_who_leaves(self) -> bool {
        !matches!(self, Self::Apache | Self::Multiplexed)
    }
}

/// The most that a body may have.
pub const MOST: u64 = 1 << 30;

const APP: &str = include_str!("app.luau");

/// Programs, with what they are run by.
const PROGRAMS: &[(&str, &str)] = &[
    (
        "env.pl",
        "read(STDIN, my $body, $ENV{CONTENT_LENGTH} // 0);\n\
         print \"Content-Type: text/plain\\nX-Kind: program\\n\\n\", join('|', map { $ENV{$_} // '-' } qw(REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING CONTENT_TYPE \
         CONTENT_LENGTH HTTP_X_OWN HTTP_COOKIE HTTP_PROXY)), \"|$body\";",
    ),
    (
        "echo.pl",
        "$| = 1; binmode STDIN; binmode STDOUT; print \"Content-Type: application/octet-stream\\n\\n\";\n\
         while (sysread(STDIN, my $piece, 65536)) { my $at = 0; while ($at < length $piece) { $at += syswrite(STDOUT, $piece, 65536, $at) } }",
    ),
    ("status.pl", "print \"Status: $ENV{QUERY_STRING}\\n\\nas asked\";"),
    ("onward.pl", "print \"Location: $ENV{QUERY_STRING}\\n\\n\";"),
    ("sends.pl", "print \"X-Sendfile: $ENV{QUERY_STRING}\\nX-Own: 1\\n\\nignored\";"),
    ("dies.pl", "$| = 1; print \"A: b\\n\\n\", 'half' x 1000; kill 9, $$;"),
    ("waits.pl", "open my $told, '>>', \"$ENV{PIDS}\"; print $told \"$$\\n\"; close $told; sleep 100000;"),
    ("none.pl", "print \"no header at all\";"),
    ("count.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; wc -c\n"),
    ("zeros.sh", "#!/bin/sh\nprintf 'Content-Type: application/octet-stream\\n\\n'; exec head -c \"$QUERY_STRING\" /dev/zero\n"),
];

pub struct Served {
    pub way: Way,
    pub skep: Skep,
    /// Where clients ask.
    address: SocketAddr,
    _front: Option<Front>,
}

impl Served {
    /// With one worker, so that every request meets the same application.
    pub fn start(way: Way) -> Self {
        Self::with_workers(way, 1)
    }

    pub fn with_workers(way: Way, workers: usize) -> Self {
        let site = Site::new();
        let folder = site.path().to_owned();
        site.write("apps/site.luau", APP);
        site.write("public/digits.txt", &"0123456789".repeat(30_000));
        site.write("sent/file.txt", &"0123456789".repeat(100));
        // A file that was written just now has a weak tag only: it may change again within the same second.
        let digits = fs::File::options().append(true).open(folder.join("public/digits.txt")).expect("a file");
        digits.set_modified(std::time::SystemTime::now() - std::time::Duration::from_mins(1)).expect("a time");
        // It is as large as it says and takes no room.
        fs::File::create(folder.join("public/large.bin")).and_then(|file| file.set_len(MOST)).expect("a file");
        for (name, text) in PROGRAMS {
            site.write(&format!("cgi-bin/{name}"), text);
            fs::set_permissions(folder.join("cgi-bin").join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let (web, behind, outer) = (site.address, free_address(), free_address());
        let routes = "routes: [(path: \"/\", app: \"site\"), (path: \"/files\", app: \"files\"), (path: \"/cgi\", app: \"programs\"), \
                      (path: \"/moved\", redirect: (to: \"/echo?moved\"))]";
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", auto_reload: false, log: (level: Warn), workers: (start: {workers}, min: {workers}, max: {workers}, min_spare: 0, max_spare: {workers}),\n\
                 admin: (listen: []), apps: {{\"site\": Script(path: \"apps/site.luau\", sendfile_roots: [\"sent\"]), \"files\": Files(root: \"public\"),\n\
                 \"programs\": Cgi(root: \"cgi-bin\", interpreters: {{\".pl\": \"/usr/bin/perl\"}}, sendfile_roots: [\"sent\"], max_output: None, \
                 env: {{\"PIDS\": \"{pids}\"}}),\n\
                 \"behind\": Proxy(to: [\"http://{web}\"])}},\n\
                 servers: {{\"web\": Http(listen: [\"{web}\"], max_body: \"1 GiB\", {routes}),\n\
                 \"fcgi\": FastCgi(listen: [\"{behind}\"], max_body: \"1 GiB\", {routes}),\n\
                 \"outer\": Http(listen: [\"{outer}\"], max_body: \"1 GiB\", routes: [(path: \"/\", app: \"behind\")])}})\n",
                pids = folder.join("pids").display()
            ),
        );
        let skep = site.start();
        let address = match way {
            Way::Http1 | Way::Http2 => web,
            Way::Proxy => outer,
            Way::Nginx | Way::Apache | Way::HaProxy | Way::Multiplexed => free_address(),
        };
        let front = Front::start(way, address, behind, &folder.join("front"));
        skep.settled(workers);
        let served = Self { way, skep, address, _front: front };
        wait::until("an answer by this way", || served.try_get("/echo").is_ok_and(|reply| reply.status == 200));
        served
    }

    /// Begins an exchange.
    pub fn open(&self, asked: Asked<'_>) -> Box<dyn Exchange> {
        self.try_open(asked).expect("a connection")
    }

    fn try_open(&self, asked: Asked<'_>) -> io::Result<Box<dyn Exchange>> {
        Ok(match self.way {
            Way::Http2 => Box::new(Http2::open(self.address, asked)?),
            _ => Box::new(Http1::open(self.address, asked)?),
        })
    }

    /// Asks with a body of known length, and reads the answer.
    pub fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_ask(method, target, fields, body).unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub fn try_ask(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let announced = if body.is_empty() { Announced::None } else { Announced::Length(body.len() as u64) };
        let mut exchange = self.try_open(Asked { method, target, fields, body: announced })?;
        // Who answers before the body has come may not want the rest.
        let _wanted = exchange.send(body).and_then(|()| exchange.finish());
        read(&mut *exchange)
    }

    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[], b"")
    }

    pub fn try_get(&self, target: &str) -> io::Result<Reply> {
        self.try_ask("GET", target, &[], b"")
    }

    /// An answer that has come to 4000 bytes when it broke off. HAProxy has no way to tell where others are on the connection (docs/fastcgi.md).
    pub fn breaks_off(&self, answer: io::Result<Reply>) {
        match answer {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}"),
            Ok(looks_whole) => assert_eq!((self.way, looks_whole.body.len()), (Way::Multiplexed, 4000)),
        }
    }

    /// The same with the answer's JSON.
    pub fn told(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Value {
        let reply = self.ask(method, target, fields, body);
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.text());
        serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{method} {target}: {error}: {}", reply.text()))
    }

    /// What the application remembers of a key: how a request that it was named by went.
    pub fn remembered(&self, key: &str) -> String {
        self.get(&format!("/remembered?key={key}")).text()
    }

    /// Waits until it remembers this.
    pub fn remembers(&self, key: &str, what: &str) {
        let mut last = String::new();
        wait::until(format!("{key} to be {what}"), || {
            last = self.remembered(key);
            last == what
        });
    }

    /// Waits until the application has read so much of a body.
    pub fn has_read(&self, key: &str, least: usize) {
        wait::until(format!("{key} to be read"), || self.remembered(key).parse().is_ok_and(|read: usize| read >= least));
    }

    /// How a body may be announced whose pieces are looked at one by one. HAProxy takes one of unknown length only as long as it fits into a buffer.
    pub fn announced(&self, length: u64) -> Vec<(&'static str, Announced)> {
        let mut all = vec![("known", Announced::Length(length)), ("unknown", Announced::Unknown)];
        all.truncate(if self.way.is_haproxy() { 1 } else { 2 });
        all
    }

    /// The first piece of a body, and how much of it reaches the application without the rest: HAProxy waits for the whole body or a full buffer, and
    /// then passes on what it has.
    pub fn first_piece(&self) -> (Vec<u8>, usize) {
        if self.way.is_haproxy() { (vec![b'x'; 300_000], 1) } else { (vec![b'x'; 1000], 1000) }
    }

    /// Wakes a request that sleeps, once it does.
    pub fn wake(&self, key: &str) {
        wait::until(format!("{key} to sleep"), || self.get(&format!("/wake?key={key}")).status == 200);
    }

    pub fn worker(&self) -> i32 {
        self.skep.settled(1).workers[0].pid
    }

    /// The program processes that were told of.
    pub fn programs(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.skep.site.path().join("pids")).unwrap_or_default();
        text.split_ascii_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
    }

    /// Nothing is left of what was asked: no temporary file, no program.
    pub fn is_left_clean(&self) {
        let worker = self.worker();
        wait::until("the programs to be gone", || children(worker).is_empty());
        wait::until("the uploads to be gone", || self.uploads() == 0);
    }

    /// Temporary files of uploads.
    pub fn uploads(&self) -> usize {
        fs::read_dir(self.skep.site.path().join("data/uploads")).map_or(0, Iterator::count)
    }
}

/// The children of a process, zombies included.
pub fn children(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.flat_map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}
