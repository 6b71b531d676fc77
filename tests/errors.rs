//! Pages in the place of errors and header fields of all answers, in the real binary: those too that come before a route is found.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::Command;

use support::client::{Client, Reply, get};
use support::server::{Site, Skep, free_address};

const APP: &str = r#"
return {
    request = function(req)
        if req.path == "/fail" then
            error("as asked")
        end
        return { status = 404, headers = { ["X-Own"] = "1", ETag = '"own"' }, body = "the application's own" }
    end,
}
"#;

const ROUTES: &str = r#"
    (path: "/", app: "site"),
    (path: "/files", app: "files"),
    (path: "/pages", app: "files", errors: [(status: [404], path: "/pages/none-either")]),
    (path: "/taken", app: "site", errors: [(status: [404], body: "taken {status}", content_type: "text/plain", intercept: true)]),
    (path: "/denied", app: "site", deny: ["127.0.0.1"], errors: [(status: ["4xx"], path: "/pages/denied.html")], headers: (set: {"X-Server": "route"})),
    (path: "/secret", app: "site", auth: Basic(users: "users"), errors: [(status: [401], body: "who are you?")]),
    (path: "/far", app: "far"),
    (path: "/fixed", reply: (status: 404, body: "fixed")),
    (path: "/elsewhere", redirect: (to: "/files")),
"#;

const SERVER: &str = r#"
    max_body: "1 KiB", hsts: (), headers: (set: {"X-Server": "web"}, remove: ["X-Own"]),
    errors: [
        (status: [404], body: "<b>{status} {reason} {id}</b>"),
        (status: ["5xx", 413], file: "errors/broken.html"),
        (status: ["4xx"], body: "bad: {status}", content_type: "text/plain; charset=utf-8"),
    ],
"#;

/// The same server with and without TLS, and one without routes.
struct Servers {
    skep: Skep,
    secure: SocketAddr,
    bare: SocketAddr,
}

fn start() -> Servers {
    let site = Site::new();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=one.test"])
        .args(["-addext", "subjectAltName=DNS:one.test", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(site.path())
        .output()
        .expect("openssl: tests/peers/tls.sh installs it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    site.write("apps/site/main.luau", APP);
    site.write("users", "");
    site.write("public/denied.html", "<p>not you</p>");
    site.write("errors/broken.html", "<p>{status}: broken</p>");
    let (plain, secure, bare, dead) = (site.address, free_address(), free_address(), free_address());
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Error), admin: (listen: []),\n\
             workers: (start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1),\n\
             apps: {{\"site\": Script(path: \"apps/site\"), \"files\": Files(root: \"public\"), \"far\": Proxy(to: [\"http://{dead}\"])}},\n\
             servers: {{\"web\": Http(listen: [\"{plain}\"], {SERVER} routes: [{ROUTES}]),\n\
             \"secure\": Http(listen: [\"{secure}\"], tls: (certificate: \"cert.pem\", key: \"key.pem\"), {SERVER} routes: [{ROUTES}]),\n\
             \"bare\": Http(listen: [\"{bare}\"], {SERVER})}})\n"
        ),
    );
    Servers { skep: site.start(), secure, bare }
}

/// What is answered to bytes.
fn said(address: SocketAddr, bytes: &str) -> Reply {
    let mut client = Client::connect(address).expect("connected");
    client.send(bytes.as_bytes()).expect("sent");
    client.read_reply().expect("an answer")
}

fn is(reply: &Reply, status: u16, text: &str) {
    assert_eq!((reply.status, reply.text().as_str()), (status, text), "{reply:?}");
}

#[test]
fn errors_have_the_pages_that_stand_for_them() {
    let servers = start();
    let address = servers.skep.address();
    let reply = get(address, "/files/none").expect("an answer");
    assert!(reply.text().starts_with("<b>404 Not Found ") && reply.text().len() == "<b>404 Not Found 000000000000</b>".len(), "{reply:?}");
    assert_eq!((reply.header("content-type"), reply.header("x-server")), (Some("text/html; charset=utf-8"), Some("web")));
    is(&get(address, "/far").expect("an answer"), 502, "<p>502: broken</p>");
    is(&get(address, "/fail").expect("an answer"), 500, "<p>500: broken</p>");
    // What an application answers is its own, unless it is to be taken.
    let own = get(address, "/x").expect("an answer");
    is(&own, 404, "the application's own");
    assert_eq!((own.header("x-own"), own.header("etag")), (None, Some("\"own\"")));
    let taken = get(address, "/taken").expect("an answer");
    is(&taken, 404, "taken 404");
    assert_eq!((taken.header("content-type"), taken.header("etag")), (Some("text/plain"), None));
    is(&get(address, "/fixed").expect("an answer"), 404, "fixed");
    let who = get(address, "/secret").expect("an answer");
    is(&who, 401, "who are you?");
    assert!(who.header("www-authenticate").is_some(), "{who:?}");
    // No body with HEAD, but its length.
    let mut client = Client::connect(address).expect("connected");
    client.send(b"HEAD /taken HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\nGET /taken HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
    let mut head = String::new();
    std::io::Read::read_to_string(&mut client.stream(), &mut head).expect("an end");
    assert!(head.starts_with("HTTP/1.1 404 ") && head.contains("\r\nContent-Length: 9\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_path_can_answer_with_the_page_and_never_goes_in_circles() {
    let servers = start();
    let address = servers.skep.address();
    for fields in ["", "If-None-Match: *\r\nRange: bytes=0-1\r\n"] {
        let reply = said(address, &format!("GET /denied/x?y HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        is(&reply, 403, "<p>not you</p>");
        assert_eq!((reply.header("content-type"), reply.header("x-server")), (Some("text/html; charset=utf-8"), Some("route")));
        assert_eq!((reply.header("etag"), reply.header("last-modified")), (None, None));
    }
    let reply = said(address, "POST /denied HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
    is(&reply, 403, "<p>not you</p>");
    let reply = get(address, "/pages/none").expect("an answer");
    is(&reply, 404, "404 Not Found: there is no such file\n");
}

#[test]
fn what_comes_before_a_route_has_pages_and_fields_too() {
    let servers = start();
    let (address, bare) = (servers.skep.address(), servers.bare);
    let long = "x".repeat(9000);
    for (request, status, text) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad: 400"),
        ("GET /../x HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), 400, "bad: 400"),
        (format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"), 414, "bad: 414"),
        (format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "X: y\r\n".repeat(101)), 431, "bad: 431"),
        ("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\n".to_owned(), 413, "<p>413: broken</p>"),
        ("TRACE / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), 405, "bad: 405"),
    ] {
        let reply = said(address, &request);
        // TRACE is answered with what is no text of an error.
        is(&reply, status, if status == 405 { "" } else { text });
        assert_eq!(reply.header("x-server"), Some("web"), "{reply:?}");
        assert_eq!(reply.header("strict-transport-security"), None);
    }
    let reply = get(bare, "/none").expect("an answer");
    assert!(reply.text().starts_with("<b>404 Not Found "), "{reply:?}");
    assert_eq!(reply.header("x-server"), Some("web"));
    let reply = get(address, "/elsewhere").expect("an answer");
    assert_eq!((reply.status, reply.header("x-server")), (302, Some("web")));
}

#[test]
fn https_says_so_in_every_answer_and_http2_as_well() {
    let servers = start();
    let long = "x".repeat(9000);
    for version in ["--http1.1", "--http2"] {
        for (path, status, text) in [
            ("files/none", 404, "<b>404 Not Found"),
            (&*long, 414, "bad: 414"),
            ("far", 502, "<p>502: broken</p>"),
            ("denied", 403, "<p>not you</p>"),
        ] {
            let output = Command::new("curl")
                .args(["--silent", "--show-error", "--max-time", "60", "--cacert", "cert.pem", "--include", version])
                .args(["--resolve", &format!("one.test:{}:127.0.0.1", servers.secure.port())])
                .arg(format!("https://one.test:{}/{path}", servers.secure.port()))
                .current_dir(servers.skep.site.path())
                .output()
                .expect("curl: tests/peers/http2.sh installs it");
            let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(said.lines().next().is_some_and(|line| line.contains(&format!(" {status}"))), "{path}: {said}{errors}");
            assert!(said.contains(&text.to_lowercase()) && said.contains("strict-transport-security: max-age=31536000"), "{said}");
        }
    }
}

#[test]
fn a_changed_page_is_taken_up() {
    let servers = start();
    let address = servers.skep.address();
    is(&get(address, "/far").expect("an answer"), 502, "<p>502: broken</p>");
    servers.skep.site.write("errors/broken.html", "<p>{status}: soon again</p>");
    let told = servers.skep.order("update");
    assert!(String::from_utf8_lossy(&told.stdout).contains("error pages of server `web` changed"), "{told:?}");
    is(&get(address, "/far").expect("an answer"), 502, "<p>502: soon again</p>");
}
