//! A new binary takes over, or cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::instance::{Instance, PLAIN, SKEP, get, lives, wait_for, workers};

#[test]
fn the_new_binary_takes_over_and_no_request_fails() {
    let instance = Instance::new(PLAIN).start();
    let address = instance.address("web");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(relaxed) {
                assert_eq!(get(address).status, 200);
                count += 1;
            }
            count
        });
        for _ in 0..5 {
            let (master, before) = (instance.master(), workers(&instance.status()));
            let said = instance.ok(&["upgrade", SKEP]);
            assert_ne!(instance.master(), master);
            assert!(said.contains(&instance.master().to_string()), "{said}");
            wait_for("the old ones to end", || !lives(master) && !before.iter().any(|pid| lives(*pid)));
            assert_eq!(instance.address("web"), address, "the socket is the same");
        }
        stop.store(true, relaxed);
        assert!(client.join().expect("no request failed") > 10);
    });
    instance.ok(&["reload"]);
    instance.ok(&["stop"]);
}

#[test]
fn a_binary_that_does_not_start_changes_nothing_and_the_command_says_why() {
    let instance = Instance::new(PLAIN).start();
    let (master, before) = (instance.master(), workers(&instance.status()));
    let script = |text: &str| {
        fs::write(instance.path("bad"), text).expect("written");
        fs::set_permissions(instance.path("bad"), fs::Permissions::from_mode(0o755)).expect("made executable");
        instance.fails(&["upgrade", "bad"], 1)
    };
    assert!(script("#!/bin/sh\nexit 7\n").contains("code 7"));
    assert!(script("no program at all").contains("cannot be executed"));
    assert!(instance.fails(&["upgrade", "nowhere"], 1).contains("nowhere"));
    // A new instance that cannot use the configuration: it says so itself.
    instance.write_config("Config(oops");
    assert!(instance.fails(&["upgrade", SKEP], 1).contains("serves on"));
    instance.configure(PLAIN, "hello");
    assert_eq!((instance.master(), workers(&instance.status())), (master, before));
    assert_eq!(instance.get().body, "hello");
    instance.ok(&["upgrade"]);
}

#[test]
fn a_pid_file_that_moved_is_not_left_behind() {
    let instance = Instance::new(PLAIN).start();
    instance.configure(&format!(r#"{PLAIN} pid_file: "run/other.pid", "#), "hello");
    instance.ok(&["upgrade"]);
    let pid: i32 = fs::read_to_string(instance.path("run/other.pid")).expect("there").trim().parse().expect("a number");
    assert!(lives(pid));
    assert!(!instance.path("run/skep.pid").exists());
    instance.ok(&["stop"]);
}
