//! What programs are told, and what becomes of what they answer.

use serde_json::Value;

use crate::front;
use crate::programs::Programs;
use crate::support::client::{Client, Reply, get};

fn ask(programs: &Programs, head: &str, body: &[u8]) -> Reply {
    let mut client = Client::connect(programs.skep.address()).expect("a connection");
    client.send(head.as_bytes()).and_then(|()| client.send(body)).expect("sent");
    client.read_reply().expect("a reply")
}

/// The status and the body of an answer to GET.
fn got(programs: &Programs, path: &str) -> (u16, String) {
    let reply = get(programs.skep.address(), path).unwrap_or_else(|error| panic!("{path}: {error}"));
    (reply.status, reply.text())
}

#[test]
fn programs_are_told_of_the_request_and_nothing_else() {
    let programs = Programs::start();
    let head = "POST /cgi/env.cgi/in%20fo?q=%20x HTTP/1.1\r\nHost: some.example:81\r\nX-Plain: 1\r\nX_Plain: 2\r\nProxy: evil\r\n\
                Authorization: Basic eA==\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n";
    let told: Value = serde_json::from_slice(&ask(&programs, head, b"body").body).expect("JSON");
    let env = &told["env"];
    let root = programs.path("cgi-bin");
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/cgi/env.cgi"),
        ("PATH_INFO", "/in fo"),
        ("PATH_TRANSLATED", &format!("{root}/in fo")),
        ("SCRIPT_FILENAME", &format!("{root}/env.cgi")),
        ("DOCUMENT_ROOT", &root),
        ("QUERY_STRING", "q=%20x"),
        ("SERVER_NAME", "some.example"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "4"),
        ("HTTP_X_PLAIN", "1"),
        ("HTTP_HOST", "some.example:81"),
        ("OWN", "value"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    for name in ["HTTP_PROXY", "HTTP_AUTHORIZATION", "HOME", "USER", "CARGO", "HTTPS"] {
        assert!(env.get(name).is_none(), "{name}");
    }
    assert_eq!((&told["cwd"], &told["body"], &told["fds"]), (&root.as_str().into(), &"body".into(), &serde_json::json!([0, 1, 2])));
    let open = ask(&programs, "GET /open/env.cgi HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\n\r\n", b"");
    let told: Value = serde_json::from_slice(&open.body).expect("JSON");
    assert_eq!((&told["env"]["HTTP_AUTHORIZATION"], told["env"].get("CONTENT_LENGTH")), (&"Basic eA==".into(), None));
}

#[test]
fn by_fastcgi_they_are_told_the_same() {
    let programs = Programs::start();
    let parameters =
        [("HTTP_X_PLAIN", "1"), ("HTTP_PROXY", "evil"), ("REMOTE_ADDR", "192.0.2.7"), ("REMOTE_USER", "kim"), ("LD_PRELOAD", "x.so")];
    let answer = front::ask(&programs.socket(), "/cgi/env.cgi/x?y", &parameters, b"body");
    let (head, body) = answer.output.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("Status: 200 OK"), "{head}");
    let told: Value = serde_json::from_str(body).expect("JSON");
    let env = &told["env"];
    for (name, value) in
        [("PATH_INFO", "/x"), ("REMOTE_ADDR", "192.0.2.7"), ("REMOTE_USER", "kim"), ("HTTP_X_PLAIN", "1"), ("SERVER_NAME", "front.example")]
    {
        assert_eq!(env[name], value, "{name}");
    }
    assert!(env.get("LD_PRELOAD").is_none() && env.get("HTTP_PROXY").is_none(), "{env}");
    assert_eq!(told["body"], "body");
    assert!(
        front::ask(&programs.socket(), "/cgi/raw.py?Location:%20/static/there.txt%0a%0a", &[], b"").output.ends_with("a file of the site")
    );
    let cut = front::ask(&programs.socket(), "/cgi/killed.sh", &[], b"");
    assert!(!cut.ended, "{}", cut.output);
}

#[test]
fn what_a_front_may_override_is_what_the_configuration_says() {
    let programs = Programs::start();
    let socket = programs.socket();
    for name in ["BINPATH", "CHROOT", "SETUSER", "SETGROUP", "CWD"] {
        let answer = front::ask(&socket, "/cgi/env.cgi", &[(name, "/usr")], b"");
        assert!(answer.output.starts_with("Status: 403"), "{name}: {}", answer.output);
        programs.logged(&["env.cgi", &format!("says {name}=\"/usr\", which `overrides` does not allow")]);
    }
    let told = |parameters: &[(&str, &str)]| -> Value {
        let answer = front::ask(&socket, "/overridden/env.cgi", parameters, b"");
        let body = answer.output.split_once("\r\n\r\n").expect("a head").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", answer.output))
    };
    assert_eq!(told(&[("CWD", "/usr/lib")])["cwd"], "/usr/lib");
    assert!(front::ask(&socket, "/overridden/env.cgi", &[("CWD", "/usr/../etc")], b"").output.starts_with("Status: 403"));
    // Perl does not understand Python: it was asked.
    assert!(front::ask(&socket, "/overridden/raw.py?A:%20b%0a%0a", &[("BINPATH", "own")], b"").output.starts_with("Status: 502"));
    if nix::unistd::geteuid().is_root() {
        // The folder of a test is its owner's alone.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(programs.skep.site.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let told = told(&[("SETUSER", "61001"), ("SETGROUP", "61002")]);
        assert_eq!((&told["uid"], &told["gids"]), (&61_001.into(), &serde_json::json!([61_002])));
        let jail = programs.path("jail");
        let answer = front::ask(&socket, "/overridden/env.cgi", &[("CHROOT", &jail)], b"");
        assert!(answer.output.starts_with("Status: 500"), "{}", answer.output);
        programs.logged(&["env.cgi", "the program lies outside its root"]);
        let answer = front::ask(&socket, "/jailed/where.sh", &[("CHROOT", &jail)], b"");
        assert!(answer.output.ends_with("/cgi/where.sh /cgi\n/cgi\n/bin /cgi /lib /lib64\n"), "{}", answer.output);
    }
}

#[test]
fn answers_are_documents_and_redirects() {
    let programs = Programs::start();
    let raw = |text: &str| get(programs.skep.address(), &format!("/cgi/raw.py?{text}")).expect("a reply");
    let reply = raw("Content-Type:text/x%0aX-A:%20b%0d%0a%0a<body>");
    assert_eq!(
        (reply.status, reply.header("content-type"), reply.header("x-a"), reply.text().as_str()),
        (200, Some("text/x"), Some("b"), "<body>")
    );
    let reply = raw("Status:%20404%20Gone%20away%0aTransfer-Encoding:%20x%0aConnection:%20x%0a%0anot%20there");
    assert_eq!((reply.status, reply.text().as_str(), reply.header("transfer-encoding")), (404, "not there", Some("chunked")));
    let reply = raw("Location:%20http://example.com/%0a%0a");
    assert_eq!((reply.status, reply.header("location")), (302, Some("http://example.com/")));
    assert_eq!(raw("Status:%20301%20x%0aLocation:%20/static/there.txt%0a%0a").status, 301);
    let reply = raw("Location:%20/static/there.txt%0a%0a");
    assert_eq!((reply.status, reply.text().as_str()), (200, "a file of the site"));
    assert_eq!(raw("Location:%20/nothing%0a%0a").text(), "up");
    assert_eq!(raw("Location:%20/cgi/raw.py?A:%2520b%250a%250athere%0a%0a").text(), "there");
    assert_eq!(raw("Status:%20204%0a%0a").status, 204);
    let sized = get(programs.skep.address(), "/cgi/big.pl").expect("a reply");
    assert_eq!((sized.header("content-length"), sized.body.len()), (Some("1000000"), 1_000_000));
    assert_eq!(got(&programs, "/cgi/long.pl"), (200, "longe".to_owned()));
    assert_eq!(got(&programs, "/cgi/fails.sh"), (200, "whole".to_owned()));
    assert_eq!(got(&programs, "/cgi/index/?A:%20b%0a%0afound"), (200, "found".to_owned()));
    assert_eq!(got(&programs, "/cgi/index?x").0, 301);
    let mut head = Client::connect(programs.skep.address()).expect("a connection");
    head.send(b"HEAD /cgi/big.pl HTTP/1.1\r\nHost: a\r\n\r\nGET /cgi/deaf.sh HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut all = String::new();
    std::io::Read::read_to_string(&mut head.stream(), &mut all).expect("an answer");
    assert!(all.contains("Content-Length: 1000000\r\n") && all.len() < 1000 && all.contains("nothing read"), "{all}");
}

#[test]
fn a_circle_of_local_redirects_ends() {
    let programs = Programs::start();
    programs.skep.site.write("cgi-bin/circle.py", "print('Location: /cgi/circle.py\\n')");
    assert_eq!(got(&programs, "/cgi/circle.py").0, 500);
    programs.logged(&["this is a circle"]);
    // With one place only it must not wait for itself.
    programs.skep.site.write("cgi-bin/once.py", "print('Location: /patient/fails.sh\\n')");
    assert_eq!(got(&programs, "/patient/once.py"), (200, "whole".to_owned()));
}

#[test]
fn what_is_no_program_is_not_run() {
    let programs = Programs::start();
    for (path, status) in [
        ("/cgi/missing.py", 404),
        ("/cgi/.hidden.sh", 404),
        ("/cgi/../outside.sh", 200),
        ("/cgi/%2e%2e/outside.sh", 200),
        ("/cgi/..%2foutside.sh", 404),
        ("/cgi/outside.sh", 404),
        ("/cgi/env.cgi%00", 400),
        ("/cgi/plain.txt", 403),
        ("/cgi/nobang.cgi", 200),
        ("/cgi/badbang.cgi", 500),
        ("/cgi/", 404),
        ("/open/linked.cgi", 404),
        ("/cgi/linked.cgi", 200),
    ] {
        let (found, body) = got(&programs, path);
        assert_eq!(found, status, "{path}");
        assert!(!body.contains("secret") && !body.contains("no program"), "{path}: {body}");
    }
    programs.logged(&["plain.txt", "may not be executed and its name has no interpreter"]);
    programs.logged(&["badbang.cgi", "the interpreter in its first line is not there"]);
}

#[test]
fn a_bad_header_block_is_502_and_the_log_says_why() {
    let programs = Programs::start();
    for (output, why) in [
        ("", "the output ended without a byte"),
        ("<html>%0a", "a line of the header block is no field: \"<html>\""),
        ("Traceback%20(most%20recent%0a", "a line of the header block is no field"),
        ("%0abody", "there are no header fields in front of the empty line"),
        ("A:%20b", "the output ended after 4 bytes"),
        ("A:%20b%0a%20c%0a%0a", "goes on in another line"),
        ("Status:%20OK%0a%0a", "\"OK\" is no status"),
        ("Status:%20100%0a%0a", "\"100\" is no status"),
        ("A:%20b%01%0a%0a", "the field \"A\" has characters"),
        ("Content-Length:%201%0aContent-Length:%201%0a%0a", "there are two fields Content-Length"),
    ] {
        assert_eq!(got(&programs, &format!("/cgi/raw.py?{output}")).0, 502, "{output}");
        programs.logged(&["raw.py", why]);
    }
    assert_eq!(got(&programs, "/cgi/raw.py?A:%20b%0a%0afine").0, 200);
}

#[test]
fn forms_and_uploads_reach_php_and_python() {
    let programs = Programs::start();
    let file = vec![b'z'; 300_000];
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nwords\r\n--b\r\nContent-Disposition: form-data; name=\"upload\"; \
                     filename=\"a b.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let head = |path: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n")
    };
    let php = ask(&programs, &head("/cgi/form.php/in/fo?q=1"), &body);
    let expected = "text=words\nupload a b.bin 300000 16c5d4d2a6d5d9ec2e5c4ce4d4b6b8cf\n/in/fo /cgi/form.php 1\n";
    let without_sum = |text: &str| text.lines().map(|line| line.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!((php.status, php.header("x-kind")), (200, Some("php")));
    assert_eq!(without_sum(&php.text()), without_sum(expected));
    let python = ask(&programs, &head("/cgi/form.py"), &body);
    assert_eq!((python.status, python.text().as_str()), (200, "text  words\nupload a b.bin 300000\n"));
    let chunked = "POST /collect/form.php HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n";
    assert_eq!(ask(&programs, chunked, b"").text(), "a=1\nb=2\n- /collect/form.php -\n");
}

#[test]
fn files_are_sent_from_named_directories_only() {
    let programs = Programs::start();
    let file = programs.path("sent/file.txt");
    let reply = get(programs.skep.address(), &format!("/cgi/wantsfile.pl?{file}")).expect("a reply");
    assert_eq!((reply.status, reply.body.len(), reply.header("x-own"), reply.header("x-sendfile")), (200, 1000, Some("1"), None));
    let head = format!("GET /cgi/wantsfile.pl?{file} HTTP/1.1\r\nHost: a\r\nRange: bytes=3-5\r\n\r\n");
    assert_eq!(ask(&programs, &head, b"").text(), "345");
    for path in [programs.path("outside.sh"), programs.path("sent/../outside.sh"), "/etc/passwd".to_owned(), programs.path("sent/none")] {
        assert_eq!(got(&programs, &format!("/cgi/wantsfile.pl?{path}")).0, 404, "{path}");
    }
    programs.logged(&["wantsfile.pl", "lies in none of `sendfile_roots`"]);
    // Without such directories it is a field like others.
    assert_eq!(got(&programs, &format!("/open/wantsfile.pl?{file}")), (200, "ignored".to_owned()));
}
