//! Who the children are. The first test needs root; as a normal user only the second says something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::unistd::Uid;

use crate::instance::{Instance, ask, get, hub, text, wait_for, workers};

/// Nobody's number on every distribution.
const NOBODY: u32 = 65_534;

fn field(pid: i32, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[test]
fn children_of_root_become_the_configured_user_for_good() {
    if !Uid::effective().is_root() {
        return;
    }
    let instance = Instance::new(r#"user: "65534", group: "65533", workers: (start: 1), "#);
    fs::set_permissions(instance.directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let instance = instance.start();
    let status = instance.status();
    for pid in workers(&status).into_iter().chain(hub(&status)) {
        assert_eq!(field(pid, "Uid:"), ["65534"; 4]);
        assert_eq!(field(pid, "Gid:"), ["65533"; 4]);
        assert_eq!(field(pid, "Groups:"), ["65533"]);
        assert_eq!(field(pid, "NoNewPrivs:"), ["1"]);
        assert_eq!(field(pid, "CapEff:"), ["0000000000000000"]);
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("own processes").flatten();
        let held: Vec<_> = files.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        assert!(!held.iter().any(|path| path.ends_with("skep.pid")), "nothing of the master's stays open: {held:?}");
    }
    assert_eq!(instance.get().body, "hello");
}

#[test]
fn an_empty_root_and_nobody_serve_the_examples_from_a_privileged_port() {
    if !Uid::effective().is_root() {
        return;
    }
    let instance = Instance::new("");
    fs::create_dir(instance.path("empty")).expect("made");
    fs::set_permissions(instance.directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    instance.write_config(
        r#"Config(
            user: "nobody", chroot: "empty", auto_reload: false, log: (file: "skep.log"),
            admin: (listen: ["127.0.0.1:0"]), workers: (start: 2),
            apps: { "examples": Script(path: "embedded:examples") },
            servers: { "web": Http(listen: ["127.0.0.1:0", "127.83.69.75:1"], routes: [(path: "/", app: "examples")]) },
        )"#,
    );
    let instance = instance.start();
    let status = instance.status();
    let accounts = fs::read_to_string("/etc/passwd").expect("every system has one");
    let nobody = accounts.lines().find(|line| line.starts_with("nobody:")).expect("every system has one");
    let group = nobody.split(':').nth(3).expect("a group").to_owned();
    for pid in workers(&status).into_iter().chain(hub(&status)) {
        assert_eq!(field(pid, "Uid:"), ["65534"; 4]);
        assert_eq!(field(pid, "Gid:"), [group.as_str(); 4], "the group of the user");
        assert_eq!(field(pid, "Groups:"), [group.as_str()], "none of root's");
        let root = fs::read_link(format!("/proc/{pid}/root")).expect("root may look");
        assert_eq!(root, instance.path("empty").canonicalize().expect("it is there"));
    }
    assert_eq!(fs::read_dir(instance.path("empty")).expect("readable").count(), 0, "nothing had to be put there");
    assert!(instance.get().body.contains("skep"));
    assert!(get("127.83.69.75:1".parse().expect("an address")).body.contains("skep"), "bound before the privileges went");
    let counter = |expected: &str| {
        let answer = ask(instance.address("web"), "POST /counter/live HTTP/1.1\r\nHost: test\r\nContent-Length: 0");
        assert!(answer.status == 200, "{expected}: {answer:?}");
    };
    counter("the cache of the hub is reached");
    let admin = instance.address("admin");
    let token = fs::read_to_string(instance.path("data/admin.token")).expect("the master keeps it");
    assert_eq!(ask(admin, &format!("GET /status HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}", token.trim())).status, 200);
    assert_eq!(ask(admin, "GET /status HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer wrong").status, 401);
    // A hub that is started again has it too.
    let first = hub(&status).expect("there is one");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).expect("it lives");
    instance.until("another hub", |status| hub(status).is_some_and(|pid| pid != first));
    wait_for("the new hub to answer", || {
        ask(admin, &format!("GET /status HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}", token.trim())).status == 200
    });
}

#[test]
fn applications_and_files_of_a_chroot_are_found_also_after_an_update() {
    if !Uid::effective().is_root() {
        return;
    }
    let instance = Instance::new("");
    fs::set_permissions(instance.directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    fs::create_dir_all(instance.path("jail/www")).expect("made");
    fs::create_dir_all(instance.path("jail/app")).expect("made");
    fs::write(instance.path("jail/www/page.txt"), "a page").expect("written");
    fs::write(instance.path("jail/app/main.luau"), "return { request = function(req) return 'from the jail' end }").expect("written");
    let configure = |format: &str| {
        instance.write_config(&format!(
            r#"Config(
                user: "nobody", chroot: "jail", data: "jail/data", auto_reload: false, log: (file: "skep.log"), admin: (listen: []),
                access_log: (file: "jail/data/access.log", format: {format}), workers: (start: 1),
                apps: {{ "app": Script(path: "jail/app"), "www": Files(root: "jail/www") }},
                servers: {{ "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/www", app: "www"), (path: "/", app: "app")]) }},
            )"#
        ));
    };
    configure("Combined");
    instance.ok(&["start"]);
    let page = || ask(instance.address("web"), "GET /www/page.txt HTTP/1.1\r\nHost: test").body;
    assert_eq!((instance.get().body.as_str(), page().as_str()), ("from the jail", "a page"));
    configure("Json");
    instance.ok(&["update"]);
    instance.ok(&["reload"]);
    assert_eq!((instance.get().body.as_str(), page().as_str()), ("from the jail", "a page"));
    wait_for("the access log in both formats", || {
        let log = fs::read_to_string(instance.path("jail/data/access.log")).unwrap_or_default();
        log.contains("\"GET / HTTP/1.1\"") && log.lines().any(|line| line.starts_with('{'))
    });
    instance.ok(&["stop"]);
}

#[test]
fn an_unknown_user_is_found_before_anything_starts() {
    let instance = Instance::new(r#"user: "no-such-user", "#);
    for command in ["configtest", "start"] {
        let said = instance.fails(&[command], 2);
        assert!(said.contains("no-such-user"), "{said}");
    }
}

#[test]
fn a_normal_user_serves_too_and_is_told_what_it_cannot_do() {
    let instance = Instance::new(r#"user: "0", workers: (start: 1), "#);
    let mut command = instance.command(&["run"]);
    if Uid::effective().is_root() {
        fs::set_permissions(instance.directory.path(), fs::Permissions::from_mode(0o777)).expect("opened");
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    wait_for("the log", || instance.log().contains("serving "));
    assert!(instance.log().contains("needs root"), "{}", instance.log());
    assert_eq!(instance.get().body, "hello");
    assert!(text(instance.status()["master"]["privileges"].to_string().as_bytes()).contains("needs root"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(instance.master()), nix::sys::signal::Signal::SIGTERM).expect("it is there");
    assert!(running.wait().expect("own child").success());
}
