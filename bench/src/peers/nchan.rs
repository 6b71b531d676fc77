//! nginx with Nchan (Debian's `libnginx-mod-nchan`) and one worker.

use std::net::SocketAddr;
use std::process::Command;

use super::realtime::{HISTORY, Liveness, MOST};
use super::{Prepared, logged, nginx};
use crate::Result;
use crate::folder::Folder;
use crate::site;

pub fn version() -> Result<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libnginx-mod-nchan"]).output();
    // Without Debian's packages the version of nginx has to do.
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.rsplit(':').next().unwrap_or_default().split(['+', '-']).next().unwrap_or_default().to_owned();
    Ok(format!("Nchan {version} ({})", nginx::version()?).replace("  ", " "))
}

pub fn prepare(address: SocketAddr, liveness: Liveness) -> Result<Prepared> {
    let folder = Folder::new()?;
    let config = folder.write("nginx.conf", config(address, liveness, &folder))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(config).args(["-g", "daemon off;"]);
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

fn config(address: SocketAddr, liveness: Liveness, folder: &Folder) -> String {
    let folder = folder.path().display();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let fixed = site::FIXED.trim_end();
    let (modules, ping) = (nginx::MODULES, liveness.0.as_secs());
    format!(
        r#"
load_module {modules}/ngx_nchan_module.so;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {MOST}; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address} backlog=4096;
        location = /fixed {{ return 200 "{fixed}\n"; }}
        location = /publish {{
            nchan_publisher;
            nchan_channel_id chat;
            nchan_message_buffer_length {HISTORY};
            nchan_message_timeout 5m;
        }}
        location = /ws {{
            nchan_subscriber websocket;
            nchan_channel_id chat;
            nchan_subscriber_first_message newest;
            nchan_websocket_ping_interval {ping};
        }}
    }}
}}
"#
    )
}
