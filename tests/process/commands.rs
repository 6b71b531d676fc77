//! Every command and its exit codes.

use std::fs;
use std::net::TcpListener;

use crate::instance::{Instance, PLAIN, SKEP, exists, workers};

#[test]
fn a_whole_life_by_commands() {
    let instance = Instance::new(PLAIN);
    assert!(instance.ok(&["configtest"]).contains("is fine"));
    let said = instance.ok(&["start"]);
    assert!(said.contains(&format!("process {}", instance.master())) && said.contains("web"), "{said}");
    assert_eq!((instance.get().status, instance.get().body.as_str()), (200, "hello"));
    assert!(instance.ok(&["configtest"]).contains("is fine"), "its own ports are rightly busy");

    let said = instance.ok(&["status"]);
    assert!(said.contains("is running") && said.contains("2 idle"), "{said}");
    let said = instance.ok(&["fullstatus"]);
    for row in ["State of workers:", "Total: 2", "Idle: 2", "Busy: 0", "Shutdown: 0", "Pre-init: 0", "Wait-init: 0", "Init: 0"] {
        assert!(said.contains(row), "{row} in {said}");
    }
    for worker in workers(&instance.status()) {
        assert!(said.contains(&worker.to_string()), "{worker} in {said}");
    }

    let before = workers(&instance.status());
    assert!(instance.ok(&["reload"]).contains("2 new workers"));
    let status = instance.until("two workers", |s| workers(s).len() == 2);
    assert!(workers(&status).iter().all(|w| !before.contains(w)));
    assert_eq!(status["master"]["generation"], 2);
    assert!(instance.ok(&["update"]).contains("nothing has changed"));

    fs::rename(instance.path("skep.log"), instance.path("skep.log.1")).expect("rotated");
    instance.ok(&["reopenlog"]);
    assert!(instance.log().contains("opened again"));

    let before = instance.master();
    instance.ok(&["restart"]);
    assert_ne!(instance.master(), before);
    let before = instance.master();
    instance.ok(&["hardrestart"]);
    assert_ne!(instance.master(), before);
    assert_eq!(instance.get().body, "hello");

    assert!(instance.ok(&["stop"]).contains("stopped"));
    for left in ["run/skep.pid", "run/control.sock"] {
        assert!(!exists(&instance.path(left)), "{left} is left behind");
    }
    instance.ok(&["start"]);
    instance.ok(&["hardstop"]);
}

#[test]
fn without_an_instance_the_code_is_three() {
    let instance = Instance::new(PLAIN);
    for command in ["status", "fullstatus", "stop", "hardstop", "reload", "update", "reopenlog", "upgrade"] {
        assert!(instance.fails(&[command], 3).contains("not running"), "{command}");
    }
    instance.ok(&["restart"]);
    instance.ok(&["status"]);
}

#[test]
fn bad_usage_and_a_bad_configuration_are_code_two() {
    let instance = Instance::new(PLAIN);
    for arguments in [&["frobnicate"][..], &["status", "--nonsense"], &["new"], &[]] {
        instance.fails(arguments, 2);
    }
    assert!(instance.ok(&["help"]).contains("fullstatus"));
    assert!(instance.ok(&["--version"]).starts_with("skep 0."));
    instance.write_config("Config(\n    wrokers: (start: 2),\n)");
    for command in ["configtest", "run", "start", "restart"] {
        let said = instance.fails(&[command], 2);
        assert!(said.contains("config.ron:2") && said.contains("wrokers") && said.contains('^'), "{command}: {said}");
    }
    instance.fails(&["configtest", "-c", "nowhere.ron"], 2);
}

#[test]
fn only_one_instance_runs_on_a_pid_file_and_a_stale_one_stops_nobody() {
    let instance = Instance::new(PLAIN);
    fs::create_dir(instance.path("run")).expect("made");
    fs::write(instance.path("run/skep.pid"), "999999\n").expect("a stale file");
    instance.ok(&["start"]);
    let said = instance.fails(&["start"], 1);
    assert!(said.contains(&format!("already running, process {}", instance.master())), "{said}");
    assert_eq!(instance.get().body, "hello");
}

#[test]
fn a_busy_port_of_the_configuration_fails_and_names_who_has_it() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("bound");
    let instance = Instance::new(PLAIN);
    instance.write_config(&format!(
        r#"Config(log: (file: "skep.log"), admin: (listen: []), servers: {{ "web": Http(listen: ["{address}"], routes: [(path: "/", reply: (body: ""))]) }})"#
    ));
    let own = std::process::id().to_string();
    let said = instance.fails(&["start"], 1);
    assert!(said.contains(&address.to_string()) && said.contains(&own), "{said}");
    assert!(instance.fails(&["configtest"], 2).contains(&own));
    assert!(!exists(&instance.path("run/skep.pid")));
}

#[test]
fn a_broken_configuration_does_not_keep_anybody_from_stopping() {
    let instance = Instance::new(PLAIN).start();
    instance.write_config("Config(oops");
    instance.ok(&["status"]);
    instance.ok(&["stop"]);
}

#[test]
fn what_init_and_new_write_works_as_it_is_and_nothing_is_overwritten() {
    let instance = Instance::new(PLAIN);
    assert!(instance.fails(&["init"], 1).contains("config.ron is there already"));
    assert!(!exists(&instance.path("apps")), "all or nothing");
    assert!(instance.ok(&["init", "fresh"]).contains("config.ron"));
    let fresh = instance.path("fresh/config.ron");
    let fresh = fresh.to_str().expect("text");
    let config = fs::read_to_string(fresh).expect("written");
    fs::write(fresh, config.replace("127.0.0.1:8047", "127.0.0.1:0").replace("127.0.0.1:8048", "127.0.0.1:0")).expect("written");
    assert!(instance.ok(&["configtest", "-c", fresh]).contains("is fine"));

    assert!(instance.ok(&["new", "chat"]).contains("apps/chat"));
    instance.fails(&["new", "chat"], 1);
    instance.fails(&["new", "../chat"], 2);
    instance.write_config(
        r#"Config(
            log: (file: "skep.log"), admin: (listen: []), apps: { "chat": Script(path: "apps/chat") },
            servers: { "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", app: "chat")]) },
        )"#,
    );
    let instance = instance.start();
    let answer = instance.get();
    assert!(answer.status == 200 && answer.body.contains("Hello"), "{answer:?}");
}

#[test]
fn the_schema_is_json() {
    let instance = Instance::new(PLAIN);
    let schema: serde_json::Value = serde_json::from_str(&instance.ok(&["config", "schema"])).expect("JSON");
    assert!(schema["properties"]["workers"].is_object());
}

#[test]
fn what_the_caller_has_open_is_closed_in_the_background() {
    let instance = Instance::new("workers: (start: 1), ");
    std::fs::write(instance.path("held"), "held").expect("written");
    let script = format!("exec 7<held 9<held; {SKEP} start >/dev/null");
    let status = std::process::Command::new("sh").args(["-c", &script]).current_dir(instance.directory.path()).status();
    assert!(status.expect("a shell").success(), "{}", instance.log());
    let mut pids = workers(&instance.status());
    pids.push(instance.master());
    for pid in pids {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("own process").flatten();
        let held: Vec<_> = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).filter(|path| path.ends_with("held")).collect();
        assert!(held.is_empty(), "{pid}: {held:?}");
    }
    assert_eq!(instance.get().status, 200);
}
