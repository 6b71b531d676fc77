//! Compressed answers of the real binary, read by curl: over HTTP, and over FastCGI behind nginx.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use support::client::{Client, get};
use support::server::{Site, Skep, free_address, send};
use support::wait;

const APP: &str = r#"
local skep = require("@skep")
local app = { stream = true }

function app.request(req)
    if req.path == "/large" then
        return { body = string.rep("0123456789 large\n", 100000), headers = { ["content-type"] = "text/plain", etag = '"large"' } }
    elseif req.path == "/events" then
        req:head(200, { ["content-type"] = "text/event-stream" })
        req:write("data: first\n\n")
        req:flush()
        skep.sleep(3600)
        return
    elseif req.path == "/pieces" then
        req:head(200, { ["content-type"] = "text/html" })
        for line = 1, 5 do
            req:write(`line {line}\n`)
            req:flush()
            skep.sleep(0.01)
        end
        return
    end
    return { body = string.rep("short ", 400), headers = { ["content-type"] = "application/json" } }
end

return app
"#;

const COMPRESS: &str = "compress: (types: [\"text/plain\", \"text/html\", \"application/json\", \"text/event-stream\"])";

/// nginx in front of a skep that answers HTTP itself too; both end with it.
struct Front {
    skep: Skep,
    nginx: Child,
    address: SocketAddr,
}

impl Front {
    fn start() -> Self {
        let site = Site::new();
        let (front, web) = (free_address(), site.address);
        site.write("apps/site/main.luau", APP);
        site.write("public/page.html", &"<p>a page</p>\n".repeat(20_000));
        site.write("public/app.js", &"let original = 1;\n".repeat(1000));
        fs::write(site.path().join("public/app.js.gz"), gzip(&"let packed = 1;\n".repeat(1000))).expect("written");
        let routes = "routes: [(path: \"/\", app: \"site\"), (path: \"/files\", app: \"files\"), (path: \"/secret\", app: \"site\", compress: false), \
                      (path: \"/fixed\", reply: (body: \"fixed fixed fixed\"))]";
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn), admin: (listen: []),\n\
                 workers: (start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1),\n\
                 apps: {{\"site\": Script(path: \"apps/site\"), \"files\": Files(root: \"public\", precompressed: [Brotli, Gzip])}},\n\
                 servers: {{\"web\": Http(listen: [\"{web}\"], {COMPRESS}, {routes}),\n\
                 \"fcgi\": FastCgi(listen: [\"unix:run/fcgi.sock\"], {COMPRESS}, {routes})}})\n"
            ),
        );
        let folder = site.path().display().to_string();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        site.write(
            "nginx.conf",
            &format!(
                "{user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn; daemon off;\n\
                 events {{ worker_connections 100; }}\n\
                 http {{ access_log off; client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/fastcgi; proxy_temp_path {folder}/proxy;\n\
                 uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
                 server {{ listen {front}; location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:{folder}/run/fcgi.sock; fastcgi_buffering off; }} }} }}\n"
            ),
        );
        let skep = site.start();
        let output = fs::File::create(skep.site.path().join("nginx.out")).expect("a log");
        let nginx = Command::new("nginx")
            .args(["-p", &folder, "-c", &format!("{folder}/nginx.conf")])
            .stdin(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}: tests/peers/http.sh installs it"));
        let front = Self { skep, nginx, address: front };
        wait::until("nginx to answer", || get(front.address, "/").is_ok());
        front
    }

    /// HTTP, and FastCGI behind nginx.
    fn both(&self) -> [SocketAddr; 2] {
        [self.skep.address(), self.address]
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        send(i32::try_from(self.nginx.id()).unwrap_or(-1), Signal::SIGTERM);
        let _ = self.nginx.wait();
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::best()).read_to_end(&mut bytes).expect("compressed");
    bytes
}

/// What curl makes of it: the head with names in lower case, and the body as it was before.
fn curl(address: SocketAddr, path: &str, more: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "20"])
        .args(more)
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn curl_reads_what_was_compressed() {
    let front = Front::start();
    let large = "0123456789 large\n".repeat(100_000);
    for address in front.both() {
        for coding in ["gzip", "br", "zstd"] {
            let accept = format!("Accept-Encoding: {coding}");
            let ask = |path| curl(address, path, &["--compressed", "-H", &accept]);
            for (path, body) in [
                ("/large", large.clone()),
                ("/short", "short ".repeat(400)),
                ("/pieces", "line 1\nline 2\nline 3\nline 4\nline 5\n".to_owned()),
                ("/files/page.html", "<p>a page</p>\n".repeat(20_000)),
            ] {
                let (head, found) = ask(path);
                assert!(head.contains(&format!("content-encoding: {coding}")) && head.contains("vary: accept-encoding"), "{path}: {head}");
                assert!(found == body, "{path} {coding}");
            }
            assert!(ask("/large").0.contains("etag: w/\"large\""));
            for path in ["/secret/short", "/fixed"] {
                assert!(!ask(path).0.contains("content-encoding"), "{path}");
            }
        }
        let (head, body) = curl(address, "/large", &[]);
        assert!(!head.contains("content-encoding") && head.contains("etag: \"large\"") && head.contains("vary: accept-encoding"), "{head}");
        assert!(body == large);
        let (head, body) = curl(address, "/files/page.html", &["-H", "Accept-Encoding: gzip", "-r", "3-8"]);
        assert!(head.contains(" 206") && !head.contains("content-encoding"), "{head}");
        assert_eq!(body, "a page");
        let (head, _) = curl(address, "/large", &["-H", "Accept-Encoding: gzip", "--head"]);
        assert!(!head.contains("content-encoding"), "{head}");
    }
}

#[test]
fn a_compressed_file_beside_another_is_sent_for_it() {
    let front = Front::start();
    for address in front.both() {
        let (head, body) = curl(address, "/files/app.js", &["--compressed", "-H", "Accept-Encoding: br, gzip"]);
        assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding") && head.contains("javascript"), "{head}");
        assert_eq!(head.matches("vary:").count(), 1, "{head}");
        assert!(body == "let packed = 1;\n".repeat(1000));
        let tag = |head: &str| head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").to_owned();
        let coded = tag(&head);
        let (head, body) = curl(address, "/files/app.js", &[]);
        assert!(!head.contains("content-encoding") && head.contains("vary: accept-encoding"), "{head}");
        assert!(body == "let original = 1;\n".repeat(1000));
        assert_ne!(coded.trim_start_matches("w/"), tag(&head).trim_start_matches("w/"));
        let (head, _) = curl(
            address,
            "/files/app.js",
            &["-H", "Accept-Encoding: gzip", "-H", &format!("If-None-Match: {}", coded.replace("w/", "W/"))],
        );
        assert!(head.contains(" 304"), "{head}");
    }
    // One that is older than what it lies beside is not.
    let path = front.skep.site.path().join("public/app.js");
    fs::write(&path, "let newer = 1;\n".repeat(1000)).expect("written");
    let file = fs::File::options().append(true).open(&path).expect("open");
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).expect("set");
    wait::until("the newer one", || {
        curl(front.skep.address(), "/files/app.js", &["--compressed", "-H", "Accept-Encoding: gzip"]).1.starts_with("let newer")
    });
}

#[test]
fn an_event_is_there_at_once() {
    let front = Front::start();
    for address in front.both() {
        let mut client = Client::connect(address).expect("connected");
        client.send(b"GET /events HTTP/1.0\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n").expect("sent");
        let mut stream = client.stream();
        let mut seen = Vec::new();
        // HTTP/1.0 has no chunks to take apart. The handler sends no more for an hour: what is not flushed would not come.
        loop {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).expect("the event, before the time is over");
            assert!(count > 0);
            seen.extend_from_slice(&piece[..count]);
            if let Some(at) = seen.windows(2).position(|two| two == [0x1f, 0x8b]) {
                // The end is not there, which is an error behind what is.
                let mut plain = Vec::new();
                let _ = flate2::read::GzDecoder::new(&seen[at..]).read_to_end(&mut plain);
                if plain.starts_with(b"data: first\n\n") {
                    break;
                }
            }
        }
    }
}
