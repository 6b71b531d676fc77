//! Routes that are not for everybody, in the real binary: addresses, names and passwords.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use support::client::{Client, Reply};
use support::server::{Site, Skep};
use support::wait;

const APP: &str = r#"
return {
    request = function(req)
        if req.path == "/origin" then
            return `{req.remote.address} {req.server.scheme} {req.server.authority}`
        end
        if req.base == "/fields" then
            return `{req.headers["x-set"]} {req.headers["x-common"]} {req.headers.cookie} {req.headers["x-kept"]}`
        end
        return `{req.user or "nobody"} {req.base}`
    end,
}
"#;

const ROUTES: &str = r#"
    (path: "/", app: "site"),
    (path: "/here", app: "site", allow: ["127.0.0.0/8", "::1"]),
    (path: "/there", app: "site", allow: ["10.0.0.0/8"]),
    (path: "/denied", app: "site", allow: ["127.0.0.0/8"], deny: ["127.0.0.1"]),
    (path: "/sockets", app: "site", allow: ["unix"]),
    (path: "/fixed", reply: (body: "fixed"), deny: ["127.0.0.1"]),
    (path: "/moved", redirect: (to: "/fixed{rest}"), allow: ["127.0.0.1"]),
    (path: "/alias", rewrite: "/staff"),
    (path: "/staff", app: "site", auth: Basic(realm: "the staff", users: "users"),
        headers: (set: {"X-Frame-Options": "DENY"}, remove: ["Content-Type"])),
    (path: "/fields", app: "site", headers: (request: (set: {"X-Set": "by the route"}, remove: ["Cookie"]))),
    (path: "/few", app: "site", auth: Basic(realm: "few tries", users: "users", attempts: 3)),
    (path: "/forgetful", app: "site", auth: Basic(realm: "no memory", users: "users", remember: "0s")),
"#;

/// A line as `skep password` makes it.
fn line(name: &str, password: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let mut child = command.args(["password", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    child.stdin.take().expect("a pipe").write_all(format!("{password}\n").as_bytes()).expect("written");
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

fn start() -> Skep {
    site().start()
}

/// The same with more fields of the server, each with its comma.
fn start_with(fields: &str) -> Skep {
    let site = site();
    let text = fs::read_to_string(site.config()).expect("a configuration");
    site.write("config.ron", &text.replacen("\"web\": Http(", &format!("\"web\": Http({fields} "), 1));
    site.start()
}

fn site() -> Site {
    let site = Site::new();
    site.write("apps/site/main.luau", APP);
    let bcrypt = bcrypt::hash("battery staple", 4).expect("a hash").replacen("$2b$", "$2y$", 1);
    site.write("users", &format!("# the staff\n{}lee:{bcrypt}\n", line("kim", "correct horse")));
    site.configure_with(
        "access_log: (file: \"access.log\", format: Custom(\"$user $status $uri $remote_addr\")),",
        ONE,
        "\"site\": Script(path: \"apps/site\")",
        ROUTES,
    );
    site
}

const ONE: &str = "start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1";

fn ask(skep: &Skep, path: &str, credentials: Option<&str>) -> Reply {
    let mut client = Client::connect(skep.address()).expect("connected");
    let field = credentials.map_or(String::new(), |text| format!("Authorization: Basic {}\r\n", STANDARD.encode(text)));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{field}\r\n").as_bytes()).expect("sent");
    client.read_reply().expect("an answer")
}

#[test]
fn addresses_decide_who_may_use_a_route() {
    let skep = start();
    for (path, status) in [
        ("/", 200),
        ("/here", 200),
        ("/here/x", 200),
        ("/there", 403),
        ("/there/x", 403),
        ("/%74here", 403),
        ("/here/../there", 403),
        ("/denied", 403),
        ("/sockets", 403),
        ("/fixed", 403),
        ("/moved/x", 302),
        // What is behind the server may take these for the guarded paths.
        ("//there", 404),
        ("/x/..%2fthere", 404),
        ("/%5cthere", 404),
        ("/here//x", 200),
    ] {
        assert_eq!(ask(&skep, path, None).status, status, "{path}");
    }
}

#[test]
fn applications_see_the_fields_of_requests_as_the_configuration_wants_them() {
    let skep = start_with("headers: (request: (set: {\"X-Set\": \"by the server\", \"X-Common\": \"to all\"})),");
    let fields = "X-Set: by the client\r\nx-set: twice\r\nCookie: a=b\r\nX-Kept: as it came\r\n";
    assert_eq!(ask_with(&skep, "/fields/x", fields).text(), "by the route to all nil as it came");
    assert_eq!(ask_with(&skep, "/fields/x", "").text(), "by the route to all nil nil");
}

#[test]
fn passwords_decide_too() {
    let skep = start();
    let asked = ask(&skep, "/staff", None);
    assert_eq!((asked.status, asked.header("www-authenticate")), (401, Some("Basic realm=\"the staff\", charset=\"UTF-8\"")));
    assert_eq!((asked.header("x-frame-options"), asked.header("content-type")), (Some("DENY"), None));
    for (credentials, status, text) in [
        ("kim:correct horse", 200, "kim /staff"),
        ("kim:correct horse", 200, "kim /staff"),
        ("lee:battery staple", 200, "lee /staff"),
        ("kim:battery staple", 401, ""),
        ("nobody:correct horse", 401, ""),
        ("kim:", 401, ""),
    ] {
        let reply = ask(&skep, "/staff", Some(credentials));
        assert_eq!(reply.status, status, "{credentials}");
        assert!(status != 200 || reply.text() == text, "{}", reply.text());
    }
    assert_eq!(ask(&skep, "/alias", None).status, 401);
    assert_eq!(ask(&skep, "/alias", Some("kim:correct horse")).text(), "kim /staff");
    assert_eq!(ask(&skep, "/forgetful", Some("kim:correct horse")).text(), "kim /forgetful");
    assert_eq!(ask(&skep, "/", Some("kim:correct horse")).text(), "nobody ");
    wait::until("the access log", || {
        fs::read_to_string(skep.site.path().join("access.log")).is_ok_and(|log| log.contains("kim 200 /staff 127.0.0.1\n"))
    });
    let log = fs::read_to_string(skep.site.path().join("access.log")).expect("a log");
    assert!(log.contains("- 401 /staff 127.0.0.1\n"), "{log}");
    assert!(!skep.output().contains("horse") && !skep.output().contains("staple"), "{}", skep.output());
}

#[test]
fn who_guesses_has_to_wait() {
    let skep = start();
    assert_eq!(ask(&skep, "/few", Some("kim:correct horse")).status, 200);
    for _ in 0..3 {
        assert_eq!(ask(&skep, "/few", Some("kim:guess")).status, 401);
    }
    let late = ask(&skep, "/few", Some("kim:guess"));
    assert_eq!(late.status, 429);
    assert!((1..=20).contains(&late.header("retry-after").and_then(|wait| wait.parse().ok()).unwrap_or(0)), "{late:?}");
    // Not even the right one, when it has to be checked; who is in stays in.
    assert_eq!(ask(&skep, "/few", Some("lee:battery staple")).status, 429);
    assert_eq!(ask(&skep, "/few", Some("kim:correct horse")).status, 200);
}

#[test]
fn many_requests_with_one_password_check_it_once_and_are_no_guesses() {
    let skep = start();
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(skep.address()).expect("connected")).collect();
    let field = STANDARD.encode("kim:correct horse");
    for client in &mut clients {
        client.send(format!("GET /few HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {field}\r\n\r\n").as_bytes()).expect("sent");
    }
    for client in &mut clients {
        assert_eq!(client.read_reply().expect("an answer").status, 200);
    }
}

#[test]
fn a_changed_file_of_users_is_taken_up() {
    let skep = start();
    assert_eq!(ask(&skep, "/staff", Some("kim:correct horse")).status, 200);
    let other = line("kim", "another horse");
    skep.site.write("users", &other);
    skep.order("update");
    wait::until("the new password", || ask(&skep, "/staff", Some("kim:another horse")).status == 200);
    assert_eq!(ask(&skep, "/staff", Some("kim:correct horse")).status, 401);
    skep.site.write("users", "kim:plain\n");
    let output = skep.site.command("update").output().expect("the binary starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("line 1: this is no hash of Argon2 or bcrypt") && !said.contains("plain\n"), "{said}");
    assert_eq!(ask(&skep, "/staff", Some("kim:another horse")).status, 200);
}

#[test]
fn a_saved_file_of_users_is_noticed() {
    let site = site();
    let text = fs::read_to_string(site.config()).expect("a configuration");
    site.write("config.ron", &text.replace("auto_reload: false", "auto_reload: true"));
    let skep = site.start();
    assert_eq!(ask(&skep, "/staff", Some("kim:correct horse")).status, 200);
    // Over the old one by a rename, as `skep.site.write` does, and into it, as an editor may.
    skep.site.write("users", &line("kim", "another horse"));
    wait::until("the new password", || ask(&skep, "/staff", Some("kim:another horse")).status == 200);
    assert_eq!(ask(&skep, "/staff", Some("kim:correct horse")).status, 401);
    fs::write(skep.site.path().join("users"), line("lee", "third horse")).expect("written");
    wait::until("another name", || ask(&skep, "/staff", Some("lee:third horse")).status == 200);
    assert_eq!(ask(&skep, "/staff", Some("kim:another horse")).status, 401);
    // What is no such file changes nothing, and is told.
    skep.site.write("users", "kim:plain\n");
    wait::until("the log to say so", || skep.output().contains("this is no hash of Argon2 or bcrypt"));
    assert_eq!(ask(&skep, "/staff", Some("lee:third horse")).status, 200);
}

/// Asks with these fields, each with its line end.
fn ask_with(skep: &Skep, path: &str, fields: &str) -> Reply {
    let mut client = Client::connect(skep.address()).expect("connected");
    client.send(format!("GET {path} HTTP/1.1\r\nHost: own.test\r\n{fields}\r\n").as_bytes()).expect("sent");
    client.read_reply().expect("an answer")
}

#[test]
fn who_the_client_is_comes_from_trusted_proxies_alone() {
    let claim = "X-Forwarded-For: 10.9.9.9, 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: front.test\r\n";
    let nobody = start();
    assert_eq!(ask_with(&nobody, "/origin", claim).text(), "127.0.0.1 http own.test");
    let others = start_with("trusted: (proxies: [\"10.0.0.0/8\", \"unix\"], host: true),");
    assert_eq!(ask_with(&others, "/origin", claim).text(), "127.0.0.1 http own.test");
    let skep = start_with("trusted: (proxies: [\"127.0.0.0/8\"], host: true),");
    assert_eq!(ask_with(&skep, "/origin", claim).text(), "192.0.2.7 https front.test");
    for (fields, said) in [
        ("", "127.0.0.1 http own.test"),
        ("X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-For: nonsense\r\n", "127.0.0.1 http own.test"),
        ("X-Forwarded-For: nonsense, 2001:db8::7\r\n", "2001:db8::7 http own.test"),
        ("X-Forwarded-For: 192.0.2.8, 127.0.0.5\r\nX-Forwarded-Proto: HTTPS, http\r\n", "192.0.2.8 https own.test"),
        ("X-Forwarded-Host: no host\r\nX-Forwarded-Proto: ftp\r\n", "127.0.0.1 http own.test"),
        ("Forwarded: for=192.0.2.9;proto=https\r\n", "127.0.0.1 http own.test"),
    ] {
        assert_eq!(ask_with(&skep, "/origin", fields).text(), said, "{fields}");
    }
    // The rules are about the client, whatever its own claims are.
    for (path, list, status) in [
        ("/there", "10.1.1.1", 200),
        ("/there", "10.1.1.1, 192.0.2.7", 403),
        ("/there", "192.0.2.7, 10.1.1.1", 200),
        ("/here", "192.0.2.7", 403),
        ("/denied", "127.0.0.9", 200),
        ("/denied", "127.0.0.1", 403),
    ] {
        assert_eq!(ask_with(&skep, path, &format!("X-Forwarded-For: {list}\r\n")).status, status, "{path} {list}");
    }
    wait::until("the access log", || {
        let log = fs::read_to_string(skep.site.path().join("access.log")).unwrap_or_default();
        log.contains("- 200 /there 10.1.1.1\n") && log.contains("- 403 /here 192.0.2.7\n")
    });
    // Who guesses is counted by that address too, so that one client of the proxy locks out no other.
    let guess = |from: &str| {
        let field = STANDARD.encode("kim:guess");
        ask_with(&skep, "/few", &format!("X-Forwarded-For: {from}\r\nAuthorization: Basic {field}\r\n")).status
    };
    assert_eq!((0..4).map(|_| guess("192.0.2.1")).collect::<Vec<_>>(), [401, 401, 401, 429]);
    assert_eq!(guess("192.0.2.2"), 401);
}

#[test]
fn the_standard_field_is_taken_where_that_is_said() {
    let skep = start_with("trusted: (proxies: [\"127.0.0.1\"], fields: Forwarded),");
    let fields = "X-Forwarded-For: 10.1.1.1\r\nForwarded: \", for=\"[2001:db8::7]:4711\";proto=https;host=front.test\r\n";
    assert_eq!(ask_with(&skep, "/origin", fields).text(), "2001:db8::7 https own.test");
}

#[test]
fn what_comes_unencrypted_is_sent_to_https_and_nothing_else() {
    let skep = start_with("https_only: true, hsts: (), trusted: (proxies: [\"127.0.0.1\"]),");
    for (path, status) in [("/a%20b?c=d&e", 308), ("/there", 308), ("/fixed", 308)] {
        let reply = ask_with(&skep, path, "");
        let to = format!("https://own.test{path}");
        assert_eq!((reply.status, reply.header("location"), reply.header("strict-transport-security")), (status, Some(&*to), None));
    }
    let mut client = Client::connect(skep.address()).expect("connected");
    client.send(b"POST /form HTTP/1.1\r\nHost: own.test:8080\r\nContent-Length: 3\r\n\r\na=b").expect("sent");
    let reply = client.read_reply().expect("an answer");
    assert_eq!((reply.status, reply.header("location")), (308, Some("https://own.test/form")), "the usual port");
    client.send(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(client.read_reply().expect("an answer").status, 400, "no host to go to");
    let secure = ask_with(&skep, "/origin", "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!((secure.status, secure.text()), (200, "192.0.2.1 https own.test".to_owned()));
    assert_eq!(secure.header("strict-transport-security"), Some("max-age=31536000"));
}

#[test]
fn a_server_of_one_line_sends_to_https() {
    let site = Site::new();
    let address = site.address;
    let line = format!(
        "Config(data: \"data\", run: \"run\", admin: (listen: []), servers: {{\"web\": Http(listen: [\"{address}\"], https_only: true)}})"
    );
    site.write("config.ron", &line);
    let skep = site.start();
    assert_eq!(ask_with(&skep, "/x", "").header("location"), Some("https://own.test/x"));
    assert!(!skep.output().contains("without `routes`"), "{}", skep.output());
}
