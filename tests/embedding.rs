//! A program that embeds skep, with an application in Rust that panics: this test is that program, and starts itself.

#[path = "process/instance.rs"]
#[allow(dead_code, reason = "the fixture of the tests of processes; this uses a part of it")]
mod instance;

use std::env;
use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use instance::{Instance, ask, wait_for, workers};
use serde_json::Value;
use skep::{App, Request, Response, StartError};

/// Set for the program, not for the test.
const EMBEDDED: &str = "SKEP_TEST_EMBEDDED";

struct Faulty;

/// The program, which ends with the test however that ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, and its children end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl App for Faulty {
    type Config = Value;

    async fn start(_: Value) -> Result<Self, StartError> {
        Ok(Self)
    }

    async fn request(self: Rc<Self>, request: Request) -> Response {
        match request.path() {
            "/handler" => panic!("a fault in the handler"),
            "/beside" => skep::reactor::spawn(async { panic!("a fault beside it") }).detach(),
            _ => {}
        }
        Response::text(200, "hello")
    }
}

fn main() -> ExitCode {
    if env::var_os(EMBEDDED).is_some() {
        skep::register::<Faulty>("faulty");
        return skep::main();
    }
    // What asks for the names of tests, as some tools do, gets them.
    if env::args().any(|argument| argument == "--list") {
        println!("panics: test");
        return ExitCode::SUCCESS;
    }
    panics();
    println!("test panics ... ok");
    ExitCode::SUCCESS
}

fn crashes(status: &Value) -> u64 {
    status["master"]["crashes"].as_u64().expect("a number")
}

/// A panic in a handler is an answer of 500, one elsewhere the end of the worker; the log has either with its place, its stack and what ran.
fn panics() {
    let instance = Instance::new("");
    instance.write_config(
        r#"Config(
            auto_reload: false, log: (file: "skep.log"), admin: (listen: []), workers: (start: 2, min: 2, max: 2),
            apps: { "shop": Native(kind: "faulty", config: None) },
            servers: { "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", app: "shop")]) },
        )"#,
    );
    let itself = env::current_exe().expect("this program");
    let mut program = Command::new(itself);
    program.arg("run").current_dir(instance.directory.path()).env(EMBEDDED, "1");
    let program = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut program = Program(program);
    instance.until_logged("serving ");
    let address = instance.address("web");
    let get = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: test"));

    assert_eq!(get("/handler").status, 500);
    instance.until_logged("a fault in the handler");
    let log = instance.log();
    let line = log.lines().find(|line| line.contains("a fault in the handler")).expect("logged");
    assert!(line.contains("panic at tests/embedding.rs:") && line.contains("while it ran: app shop, server web, GET /handler"), "{line}");
    assert!(log.contains("embedding::Faulty"), "the stack names the handler: {log}");
    assert_eq!(crashes(&instance.status()), 0, "the worker goes on");

    let before = workers(&instance.status());
    assert_eq!(get("/beside").status, 200);
    let began = Instant::now();
    instance.until("its end", |status| crashes(status) == 1);
    assert_eq!(get("/").body, "hello", "the other worker serves");
    let status = instance.until("another worker", |status| status["states"]["idle"] == 2);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let kept = workers(&status).iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(kept, 1, "one was replaced and the other was not: {status}");
    let log = instance.log();
    assert!(log.lines().any(|line| line.contains("panic at tests/embedding.rs:") && line.contains("a fault beside it")), "{log}");

    let master = fs::read_to_string(instance.path("run/skep.pid")).expect("a pid file");
    assert_eq!(master.trim(), program.0.id().to_string(), "the program is the master");
    instance.ok(&["stop"]);
    wait_for("its end", || program.0.try_wait().expect("own child").is_some());
}
