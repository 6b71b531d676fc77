//! Our own binary with one worker.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::realtime::{HISTORY, Liveness, MOST};
use super::{Prepared, logged};
use crate::Result;
use crate::folder::Folder;
use crate::site;

pub fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output().map_err(|error| format!("{}: {error}", binary.display()))?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or("skep").trim().to_owned())
}

/// Says which path it was asked for.
const HELLO: &str = "local app = {}\n\nfunction app.request(req)\n    return \"Hello, \" .. req.path\nend\n\nreturn app\n";

pub fn prepare(binary: &Path, address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    folder.write("public/small.txt", site::content(site::SMALL))?;
    folder.write("public/large.txt", site::content(site::LARGE))?;
    folder.write("apps/hello/main.luau", HELLO)?;
    let config = folder.write("config.ron", config(address))?;
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config).current_dir(folder.path());
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

/// A proxy with one worker in front of another server.
pub fn prepare_proxy(binary: &Path, address: SocketAddr, behind: SocketAddr) -> Result<Prepared> {
    let web = format!(
        "\"web\": Http(listen: [\"{address}\"], max_connections: 16000, keep_alive_requests: 1000000000, timeouts: (idle: \"1h\"), \
         routes: [(path: \"/\", app: \"behind\")])"
    );
    let app = format!("\"behind\": Proxy(to: [\"http://{behind}\"], connections: (idle: 128))");
    prepare_in(Folder::new()?, binary, &format!("apps: {{ {app} }}, servers: {{ {web} }},"))
}

/// A fixed answer with a certificate.
pub fn prepare_tls(binary: &Path, address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    let (certificate, key) = super::tls::certificate(&folder)?;
    let fixed = site::FIXED.trim_end();
    let server = format!(
        "\"web\": Http(listen: [\"{address}\"], max_connections: 16000, keep_alive_requests: 1000000000, timeouts: (idle: \"1h\"), \
         tls: (certificate: \"{}\", key: \"{}\"), routes: [(path: \"/fixed\", reply: (status: 200, body: \"{fixed}\\n\"))])",
        certificate.display(),
        key.display()
    );
    prepare_in(folder, binary, &format!("servers: {{ {server} }},"))
}

/// An application in Luau behind FastCGI.
pub fn prepare_fastcgi(binary: &Path, address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    folder.write("apps/hello/main.luau", HELLO)?;
    let server = format!("\"front\": FastCgi(listen: [\"{address}\"], routes: [(path: \"/\", app: \"hello\")])");
    prepare_in(folder, binary, &format!("apps: {{ \"hello\": Script(path: \"apps/hello\") }}, servers: {{ {server} }},"))
}

/// A CGI program behind FastCGI.
pub fn prepare_cgi(binary: &Path, address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    for name in ["cgi-bin/hello", "cgi-bin/fixed"] {
        folder.write_program(name, super::fcgiwrap::PROGRAM)?;
    }
    let server = format!("\"front\": FastCgi(listen: [\"{address}\"], routes: [(path: \"/\", app: \"programs\")])");
    prepare_in(folder, binary, &format!("apps: {{ \"programs\": Cgi(root: \"cgi-bin\") }}, servers: {{ {server} }},"))
}

/// A lock server with one worker: the table itself is in the hub, whose time counts too.
pub fn prepare_locks(binary: &Path, address: SocketAddr) -> Result<Prepared> {
    prepare_server(binary, &format!("\"locks\": Lock(listen: [\"{address}\"])"))
}

/// An RTEP server with one worker: events go through the hub, whose time counts too.
pub fn prepare_rtep(binary: &Path, address: SocketAddr) -> Result<Prepared> {
    prepare_server(binary, &format!("\"rtep\": Rtep(listen: [\"{address}\"])"))
}

/// Whoever connects is subscribed to one topic, a POST publishes there: an application as people write it, with one worker and the hub.
pub fn prepare_realtime(binary: &Path, address: SocketAddr, liveness: Liveness) -> Result<Prepared> {
    let ping = liveness.0.as_secs();
    let folder = Folder::new()?;
    folder.write("apps/realtime/main.luau", REALTIME)?;
    let web = format!(
        "\"web\": Http(listen: [\"{address}\"], max_connections: {MOST}, keep_alive_requests: 1000000000, timeouts: (idle: \"1h\"), \
         websocket: (ping: \"{ping}s\", drain_spread: \"100ms\", close_timeout: \"1s\"), routes: [(path: \"/fixed\", reply: (status: 200)), (path: \"/\", app: \"realtime\")])"
    );
    let app = format!("\"realtime\": Script(path: \"apps/realtime\", limits: (sockets: {MOST}, tasks: {MOST}, memory: \"256 MiB\"))");
    prepare_in(folder, binary, &format!("events: Local(history: {HISTORY}), apps: {{ {app} }}, servers: {{ {web} }},"))
}

const REALTIME: &str = r#"local events = require("@skep/events")

local app = {}

function app.websocket(ws)
    ws:subscribe("chat")
    for _ in ws:messages() do
    end
end

function app.request(req)
    events.publish("chat", req:json(), { wait = false })
    return ""
end

return app
"#;

fn prepare_server(binary: &Path, server: &str) -> Result<Prepared> {
    prepare_in(Folder::new()?, binary, &format!("servers: {{ {server} }},"))
}

fn prepare_in(folder: Folder, binary: &Path, blocks: &str) -> Result<Prepared> {
    let text = format!(
        r#"
Config(
    data: "data", run: "run", pid_file: "run/skep.pid",
    auto_reload: false,
    log: (file: "-", level: Warn, format: Text),
    workers: (start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1, max_requests: 1000000000),
    admin: (listen: []),
    {blocks}
)
"#
    );
    let config = folder.write("config.ron", text)?;
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config).current_dir(folder.path());
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

fn config(address: SocketAddr) -> String {
    let fixed = site::FIXED.trim_end();
    format!(
        r#"
Config(
    data: "data", run: "run", pid_file: "run/skep.pid",
    auto_reload: false,
    log: (file: "-", level: Warn, format: Text),
    workers: (start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1, max_requests: 1000000000),
    admin: (listen: []),
    apps: {{
        "hello": Script(path: "apps/hello"),
        "site": Files(root: "public"),
    }},
    servers: {{
        "web": Http(
            listen: ["{address}"],
            max_connections: 16000,
            keep_alive_requests: 1000000000,
            timeouts: (idle: "1h"),
            routes: [
                (path: "/files", app: "site"),
                (path: "/fixed", reply: (status: 200, body: "{fixed}\n")),
                (path: "/", app: "hello"),
            ],
        ),
    }},
)
"#
    )
}
