//! Web servers in front, which ask skep by FastCGI. Each has a folder of its own for what it writes.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::served::Way;
use crate::support::server::{is_gone, send};
use crate::support::wait;

/// A running front; it ends with this.
pub struct Front {
    child: Child,
}

impl Front {
    /// Starts the front of a way in, if it has one, at `address` in front of `behind`.
    pub fn start(way: Way, address: SocketAddr, behind: SocketAddr, folder: &Path) -> Option<Self> {
        let shown = folder.display().to_string();
        let (config, mut command) = match way {
            Way::Http1 | Way::Http2 | Way::Proxy => return None,
            Way::Nginx => (nginx(address, behind, &shown), Command::new("nginx")),
            Way::Apache => (apache(address, behind, &shown), Command::new("apache2")),
            Way::HaProxy => (haproxy(address, behind, false), Command::new("haproxy")),
            Way::Multiplexed => (haproxy(address, behind, true), Command::new("haproxy")),
        };
        let file = folder.join("front.conf");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(&file, config).expect("a file");
        match way {
            Way::Nginx => command.args(["-p", &shown, "-c"]).arg(&file),
            Way::Apache => command.args(["-D", "FOREGROUND", "-f"]).arg(&file),
            _ => command.args(["-db", "-f"]).arg(&file),
        };
        let log = fs::File::create(folder.join("front.out")).expect("a log");
        let child = command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{way:?}: {error}: tests/peers/fronts.sh installs it"));
        let mut front = Self { child };
        wait::until(format!("{way:?} to listen"), || {
            if let Some(status) = front.child.try_wait().expect("a child") {
                panic!("{way:?} ended with {status}: {}", fs::read_to_string(folder.join("front.out")).unwrap_or_default());
            }
            TcpStream::connect(address).is_ok()
        });
        Some(front)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or(-1);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        send(pid, Signal::SIGTERM);
        let _status = self.child.wait();
        for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
            wait::briefly(|| is_gone(child));
        }
    }
}

/// Keeps its connections, and passes both bodies on as they come.
fn nginx(address: SocketAddr, behind: SocketAddr, folder: &str) -> String {
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn; daemon off;\n\
         events {{ worker_connections 1000; }}\n\
         http {{ access_log off; client_max_body_size 0; client_header_buffer_size 32k; large_client_header_buffers 4 64k;\n\
         client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/fastcgi; proxy_temp_path {folder}/proxy;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; fastcgi_buffer_size 64k; fastcgi_buffers 8 64k;\n\
         upstream skep {{ server {behind}; keepalive 16; }}\n\
         server {{ listen {address}; location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass skep; fastcgi_keep_conn on;\n\
         fastcgi_request_buffering off; fastcgi_buffering off; fastcgi_read_timeout 20s; }} }} }}\n"
    )
}

fn apache(address: SocketAddr, behind: SocketAddr, folder: &str) -> String {
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_fcgi"];
    let modules: String = modules.iter().map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")).collect();
    // It does not run as root.
    let user = if nix::unistd::geteuid().is_root() { "User nobody\nGroup nogroup\n" } else { "" };
    format!(
        "ServerRoot {folder}\nServerName localhost\nPidFile {folder}/apache.pid\nErrorLog {folder}/apache.log\nDefaultRuntimeDir {folder}\nMutex file:{folder}\n\
         Listen {address}\n{modules}{user}ServerLimit 1\nStartServers 1\nThreadsPerChild 32\nMaxRequestWorkers 32\nTimeout 20\n\
         LimitRequestFieldSize 32768\nLimitRequestBody 0\nAllowEncodedSlashes NoDecode\n\
         ProxyPass \"/\" \"fcgi://{behind}/\" enablereuse=on flushpackets=on\n"
    )
}

/// With several requests on each connection, which is kept; or with a connection for each request, whose end alone tells of a client that has left.
fn haproxy(address: SocketAddr, behind: SocketAddr, shared: bool) -> String {
    let (connections, kept) = if shared {
        ("option keep-conn\n  option mpxs-conns\n  option max-reqs 100", "pool-purge-delay 1h")
    } else {
        ("no option keep-conn", "")
    };
    format!(
        "global\n  nbthread 1\n  tune.bufsize 65536\n\
         defaults\n  mode http\n  timeout connect 20s\n  timeout client 10s\n  timeout server 10s\n  option abortonclose\n\
         fcgi-app skep\n  docroot /srv/www\n  {connections}\n  log-stderr stdout format raw daemon\n\
         frontend web\n  bind {address}\n  default_backend skep\n\
         backend skep\n  use-fcgi-app skep\n  http-reuse always\n  server one {behind} proto fcgi {kept}\n"
    )
}
