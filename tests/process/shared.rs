//! What workers share, or start: the cache and its limits, tasks that one of them runs, programs.

use std::fs;

use crate::instance::{Instance, ask, wait_for, workers};

/// Keeps texts, runs a task once a machine, and programs.
const APP: &str = r#"local cache = require("@skep/cache")
local events = require("@skep/events")
local log = require("@skep/log")
local process = require("@skep/process")
local skep = require("@skep")

local app = { kept = {} }

function app.init(config)
    if config ~= "elected" then
        return
    end
    skep.every("20ms", function()
        log.info("begins in " .. skep.worker().number)
        skep.sleep("30ms")
        log.info("ends in " .. skep.worker().number)
    end, { once = true })
end

function app.fill(count, length)
    for number = 1, count do
        cache.set("key" .. number, string.rep("x", length))
    end
    local kept = 0
    for number = 1, count do
        if cache.get("key" .. number) then
            kept += 1
        end
    end
    return tostring(kept)
end

function app.request(req)
    if req.path == "/fill" then
        return app.fill(64, 4096)
    elseif req.path == "/large" then
        local set, why = pcall(cache.set, "large", string.rep("x", 100000))
        return if set then "kept" else tostring(why)
    elseif req.path == "/iterations" then
        local subscription = events.subscribe("topic")
        for _ = 1, 10000 do
            table.insert(app.kept, subscription:events())
        end
        return tostring(#app.kept)
    elseif req.path == "/signals" then
        return process.run({ "/bin/grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status" }).stdout
    elseif req.path == "/term" then
        local sleeper = process.start({ "/bin/sleep", "1000" })
        sleeper:kill("TERM")
        return sleeper:wait({ timeout = "20s" }).signal
    end
    return "hello"
end

return app
"#;

fn configure(instance: &Instance, cache: &str, workers: u32, config: &str) {
    instance.write_config(&format!(
        r#"Config(
            auto_reload: false, log: (file: "skep.log"), admin: (listen: []), workers: (start: {workers}, min: {workers}),
            cache: ({cache}),
            apps: {{ "app": Script(path: "app", config: {config}, limits: (processes: true)) }},
            servers: {{ "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", app: "app")]) }},
        )"#
    ));
}

fn instance(cache: &str, workers: u32, config: &str) -> Instance {
    let instance = Instance::new("");
    fs::create_dir(instance.path("app")).expect("made");
    fs::write(instance.path("app/main.luau"), APP).expect("written");
    configure(&instance, cache, workers, config);
    instance.start()
}

fn body(instance: &Instance, path: &str) -> String {
    ask(instance.address("web"), &format!("GET {path} HTTP/1.1\r\nHost: test")).body
}

#[test]
fn limits_of_the_cache_change_with_an_update() {
    let instance = instance(r#"memory: "1 MiB", max_value: "32 KiB""#, 2, "None");
    assert_eq!(body(&instance, "/fill"), "64");
    let refused = body(&instance, "/large");
    assert!(refused.contains("at most 32768 bytes"), "{refused}");

    configure(&instance, r#"memory: "128 KiB", max_value: "32 KiB""#, 2, "None");
    instance.ok(&["update"]);
    let kept: usize = body(&instance, "/fill").parse().expect("a number");
    assert!((8..=32).contains(&kept), "{kept} of 4 KiB in 128 KiB");

    configure(&instance, r#"memory: "1 MiB", max_value: "256 KiB""#, 2, "None");
    instance.ok(&["update"]);
    assert_eq!(body(&instance, "/fill"), "64");
    assert_eq!(body(&instance, "/large"), "kept");
}

#[test]
fn a_task_that_runs_once_a_machine_runs_in_one_worker_from_the_first_moment() {
    let instance = instance(r#"memory: "1 MiB""#, 4, "\"elected\"");
    wait_for("twenty runs", || instance.log().matches("ends in ").count() >= 20);
    let log = instance.log();
    let runs: Vec<&str> = log.lines().filter_map(|line| line.find("begins in ").or(line.find("ends in ")).map(|at| &line[at..])).collect();
    let elected = runs[0].strip_prefix("begins in ").expect("a run begins before it ends");
    for (number, run) in runs.iter().enumerate() {
        let expected = if number % 2 == 0 { format!("begins in {elected}") } else { format!("ends in {elected}") };
        assert_eq!(*run, expected, "never two at once: {runs:?}");
    }
}

#[test]
fn programs_of_applications_end_by_signals_that_workers_ignore() {
    let instance = instance(r#"memory: "1 MiB""#, 1, "None");
    let signals = body(&instance, "/signals");
    let masks: Vec<&str> = signals.split_whitespace().skip(1).step_by(2).collect();
    assert_eq!(masks.len(), 2, "{signals}");
    for mask in masks {
        // Those above 31 are the C library's and of whoever started the test.
        assert_eq!(u64::from_str_radix(mask, 16).expect("a mask") & 0x7FFF_FFFF, 0, "{signals}");
    }
    assert_eq!(body(&instance, "/term"), "SIGTERM");
}

/// Resident memory of a process, bytes.
fn resident(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn what_loops_read_from_is_small() {
    let instance = instance(r#"memory: "1 MiB""#, 1, "None");
    let worker = workers(&instance.status())[0];
    assert_eq!(body(&instance, "/"), "hello");
    let before = resident(worker);
    assert_eq!(body(&instance, "/iterations"), "10000");
    // A function of its own for each was 12 KiB and more.
    let each = resident(worker).saturating_sub(before) / 10_000;
    assert!(each < 1024, "{each} bytes each");
}
