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
    let site = Site::new();
    site.write("apps/site/main.luau", APP);
    let bcrypt = bcrypt::hash("battery staple", 4).expect("a hash").replacen("$2b$", "$2y$", 1);
    site.write("users", &format!("# the staff\n{}lee:{bcrypt}\n", line("kim", "correct horse")));
    site.configure_with(
        "access_log: (file: \"access.log\", format: Custom(\"$user $status $uri\")),",
        ONE,
        "\"site\": Script(path: \"apps/site\")",
        ROUTES,
    );
    site.start()
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
        fs::read_to_string(skep.site.path().join("access.log")).is_ok_and(|log| log.contains("kim 200 /staff\n"))
    });
    let log = fs::read_to_string(skep.site.path().join("access.log")).expect("a log");
    assert!(log.contains("- 401 /staff\n"), "{log}");
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
