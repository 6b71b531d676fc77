//! Who the children are. The first test needs root; as a normal user only the second says something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::unistd::Uid;

use crate::instance::{Instance, hub, text, wait_for, workers};

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
    wait_for("the log", || instance.log().contains("workers serve"));
    assert!(instance.log().contains("needs root"), "{}", instance.log());
    assert_eq!(instance.get().body, "hello");
    assert!(text(instance.status()["master"]["privileges"].to_string().as_bytes()).contains("needs root"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(instance.master()), nix::sys::signal::Signal::SIGTERM).expect("it is there");
    assert!(running.wait().expect("own child").success());
}
