//! nginx with one worker, logs off, sendfile on, and its Lua module.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Prepared, logged};
use crate::Result;
use crate::folder::Folder;
use crate::site;

/// Where Debian puts modules.
pub(super) const MODULES: &str = "/usr/lib/nginx/modules";

pub fn version() -> Result<String> {
    let output = Command::new("nginx").arg("-v").output().map_err(|error| format!("nginx: {error}: tests/peers/http.sh installs it"))?;
    let text = String::from_utf8(output.stderr)?;
    Ok(text.trim().rsplit("version: ").next().unwrap_or_default().replace('/', " "))
}

pub fn prepare(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    folder.write("public/small.txt", site::content(site::SMALL))?;
    folder.write("public/large.txt", site::content(site::LARGE))?;
    let config = folder.write("nginx.conf", config(address, &folder))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(config).args(["-g", "daemon off;"]);
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

/// A proxy with one worker in front of another server, to which it keeps its connections.
pub fn prepare_proxy(address: SocketAddr, behind: SocketAddr) -> Result<Prepared> {
    let server = format!(
        r#"
    upstream behind {{ server {behind}; keepalive 128; keepalive_requests 1000000000; keepalive_time 24h; }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
    }}
"#
    );
    prepare_in(Folder::new()?, &server)
}

/// A web server with one worker in front of a FastCGI server, to which it keeps its connections if that one does.
pub fn prepare_fastcgi(address: SocketAddr, behind: SocketAddr, script: &Path) -> Result<Prepared> {
    let server = format!(
        r"
    upstream behind {{ server {behind}; keepalive 16; keepalive_requests 1000000000; keepalive_time 24h; }}
    server {{
        listen {address} backlog=4096;
        location / {{
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {};
            fastcgi_pass behind;
            fastcgi_keep_conn on;
        }}
    }}
",
        script.display()
    );
    prepare_in(Folder::new()?, &server)
}

/// A web server with one worker and a certificate.
pub fn prepare_tls(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    let (certificate, key) = super::tls::certificate(&folder)?;
    let fixed = site::FIXED.trim_end();
    let server = format!(
        r#"
    server {{
        listen {address} ssl http2 backlog=4096;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        location = /fixed {{ return 200 "{fixed}\n"; }}
    }}
"#,
        certificate.display(),
        key.display()
    );
    prepare_in(folder, &server)
}

/// nginx with one worker and these servers, without modules.
fn prepare_in(folder: Folder, servers: &str) -> Result<Prepared> {
    let path = folder.path().display();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let config = format!(
        r"
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {path}/nginx.pid;
error_log {path}/error.log warn;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {path}/body;
    proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi;
    uwsgi_temp_path {path}/uwsgi;
    scgi_temp_path {path}/scgi;
    {servers}
}}
"
    );
    let config = folder.write("nginx.conf", config)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(config).args(["-g", "daemon off;"]);
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

/// `content_length` is set so that both sides frame the answer in the same way; left out, nginx sends chunks.
fn config(address: SocketAddr, folder: &Folder) -> String {
    let folder = folder.path().display();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let fixed = site::FIXED.trim_end();
    format!(
        r#"
load_module {MODULES}/ndk_http_module.so;
load_module {MODULES}/ngx_http_lua_module.so;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
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
        location /files/ {{ alias {folder}/public/; }}
        location = /fixed {{ return 200 "{fixed}\n"; }}
        location /hello/ {{
            content_by_lua_block {{
                local body = "Hello, " .. ngx.var.uri
                ngx.header.content_length = #body
                ngx.print(body)
            }}
        }}
    }}
}}
"#
    )
}
