//! PHP-FPM of a test's own.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::server::{is_gone, send};
use crate::support::wait;

/// A master with a fixed number of processes; they end with this.
pub struct Fpm {
    config: PathBuf,
    listen: String,
    child: Child,
}

impl Fpm {
    /// Its files lie in `folder`; `listen` is the path of a socket, or an address.
    pub fn start(folder: &Path, listen: &str, processes: usize) -> Self {
        let shown = folder.display();
        let user = if nix::unistd::geteuid().is_root() { "user = root\ngroup = root\n" } else { "" };
        let text = format!(
            "[global]\nerror_log = {shown}/fpm.log\ndaemonize = no\n[www]\n{user}listen = {listen}\npm = static\npm.max_children = {processes}\npm.max_requests = 50\n\
             php_admin_value[log_errors] = on\nphp_admin_value[upload_tmp_dir] = {shown}\n"
        );
        let config = folder.join("fpm.conf");
        fs::write(&config, text).expect("a file");
        let child = launch(&config, listen);
        Self { config, listen: listen.to_owned(), child }
    }

    fn master(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// The processes that run programs.
    pub fn processes(&self) -> Vec<i32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.master())).unwrap_or_default();
        children.split_ascii_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
    }

    /// Ends all of it at once. The master first: it would start others.
    pub fn kill(&mut self) {
        let processes = self.processes();
        send(self.master(), Signal::SIGKILL);
        self.child.wait().expect("own child");
        for pid in processes {
            send(pid, Signal::SIGKILL);
            wait::until("the end of a process", || is_gone(pid));
        }
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.child = launch(&self.config, &self.listen);
    }
}

fn launch(config: &Path, listen: &str) -> Child {
    let mut command = Command::new("php-fpm8.2");
    command.env("PATH", "/usr/sbin:/usr/bin:/bin").args(["-F", "-y"]).arg(config);
    if nix::unistd::geteuid().is_root() {
        command.arg("-R");
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.unwrap_or_else(|error| panic!("php-fpm8.2: {error}: tests/peers/cgi.sh installs it"));
    wait::until("PHP-FPM to listen", || {
        if listen.starts_with('/') { UnixStream::connect(listen).is_ok() } else { TcpStream::connect(listen).is_ok() }
    });
    child
}

impl Drop for Fpm {
    fn drop(&mut self) {
        send(self.master(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
