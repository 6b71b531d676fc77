//! A Redis of a test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::server::free_address;
use super::wait;

/// A server of our own, gone when this is dropped.
pub struct Redis {
    directory: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Redis {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = free_address();
        let child = spawn(&directory, address);
        Self { directory, address, child }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Kills it; what it had is lost.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("own child");
    }

    pub fn again(&mut self) {
        self.child = spawn(&self.directory, self.address);
    }

    /// What a configuration needs to share its events.
    pub fn fields(&self) -> String {
        format!(
            "events: Redis(client: \"shared\", history: 10000), clients: {{\"shared\": Redis(uri: \"redis://:secret@{}/1\")}},",
            self.address
        )
    }

    /// Cuts every connection, as a network does.
    pub fn cut(&self) {
        let cli = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string(), "--no-auth-warning", "-a", "secret"])
            .args(["CLIENT", "KILL", "SKIPME", "yes"])
            .stdout(Stdio::null())
            .status();
        assert!(cli.expect("redis-cli: tests/peers/redis.sh installs it").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &TempDir, address: SocketAddr) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.path().join("log")).expect("a log");
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--requirepass", "secret", "--dir"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}: tests/peers/redis.sh installs it"));
    wait::until("Redis to listen", || TcpStream::connect(address).is_ok());
    child
}
