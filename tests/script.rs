//! The modules of scripts, tested by scripts: every file in `tests/script` returns functions that raise when something is wrong.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use skep::codec::http::{Method, RequestHead, Version};
use skep::net::Peer;
use skep::reactor;
use skep::request::{Answer, Body, Handler, Onward, Origin, Request, RequestId, Response, ResponseBody};
use skep::script::{Limits, Mode, ScriptApp, Services, Source};

/// Runs one case a path, and lists them at `/`.
const MAIN: &str = r#"
local cases = require("./cases")
return { request = function(req)
    local name = string.sub(req.path, 2)
    if name == "" then
        local names = {}
        for name in cases do table.insert(names, name) end
        table.sort(names)
        return table.concat(names, "\n")
    end
    cases[name]()
    return "ok"
end }
"#;

async fn ask(app: &Rc<ScriptApp>, path: &str) -> (u16, String) {
    let head = RequestHead::new(Method::Get, &format!("/{path}"), Version::Http11).expect("a target");
    let origin = Rc::new(Origin::new(Peer::Unknown, Peer::Unknown, "test".into()));
    let request = Request {
        id: RequestId(1),
        head,
        body: Body::empty(),
        origin,
        base_length: 0,
        uploads: Rc::default(),
        onward: Onward::default(),
        user: None,
    };
    let Response { status, body, .. } = match app.clone().request(request) {
        Answer::Now(response) => response,
        Answer::Later(response) => response.await,
    };
    let ResponseBody::Bytes(bytes) = body else { panic!("{path}: no text") };
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

/// The readable part of the error page.
fn message(page: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for character in page.split("</style>").last().unwrap_or(page).chars() {
        match character {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            character if !inside => text.push(character),
            _ => {}
        }
    }
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
}

/// The modules of an application of the repository, in a folder of its name.
fn modules_of(app: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(app)).expect("the application");
    let paths = files.map(|entry| entry.expect("an entry").path());
    let modules = paths.filter(|path| path.extension().is_some_and(|kind| kind == "luau"));
    let named =
        modules.map(|path| (format!("{app}/{}", path.file_name().expect("a name").display()), fs::read_to_string(path).expect("text")));
    named.collect()
}

fn run(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script").join(format!("{name}.luau"));
    let cases = fs::read_to_string(file).expect("the cases");
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("a path");
    let environment = format!("return {{ directory = {:?} }}", root.display().to_string());
    let failures = reactor::run(async move {
        let own = [("main.luau", MAIN.to_owned()), ("cases.luau", cases), ("environment.luau", environment)];
        let own = own.map(|(name, text)| (name.to_owned(), text));
        let source = Source::memory(own.into_iter().chain(modules_of("chat")));
        let limits = Limits { read: vec![root.clone()], write: vec![root], processes: 4, sockets: 32, ..Limits::default() };
        let app = match ScriptApp::load("test", source, &serde_json::Value::Null, limits, Services::alone(), Mode::Development).await {
            Ok(app) => app,
            Err(error) => panic!("{error}"),
        };
        let (_, names) = ask(&app, "").await;
        let mut failures = Vec::new();
        for case in names.lines() {
            let (status, page) = ask(&app, case).await;
            if status != 200 {
                failures.push(format!("{case}: {}", message(&page)));
            }
        }
        assert!(!names.is_empty());
        app.retire(Duration::from_secs(5)).await;
        failures
    });
    let failures = failures.expect("a reactor");
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

macro_rules! files {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_file_is_run() {
            let listed = [$(stringify!($name)),*];
            for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script")).expect("the directory") {
                let name = entry.expect("an entry").file_name().into_string().expect("a name");
                assert!(listed.contains(&name.trim_end_matches(".luau")), "{name} is not run");
            }
        }
    };
}

files! { cache chat crypto dns events http json language live lock net process skep store stream template }
