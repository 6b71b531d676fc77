mod cookies;
mod forms;
mod sent;

use bytes::Bytes;
use futures_lite::StreamExt;
use serde_json::json;

use super::*;
use crate::codec::http::{Method, RequestHead, Version};
use crate::net::Peer;
use crate::reactor;
use crate::request::{Body, Onward, Origin, RequestId, ResponseBody};

/// A request without a connection.
fn request(method: &str, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request {
    let mut head = RequestHead::new(Method::from_token(method), target, Version::Http11).expect("a target");
    headers.iter().for_each(|(name, value)| head.fields.push(name, value).expect("a header"));
    let peer = Peer::Ip("192.0.2.1:5000".parse().expect("an address"));
    let local = Peer::Ip("127.0.0.1:80".parse().expect("an address"));
    let origin = Rc::new(Origin::new(peer, local, "web".into()));
    let body = body.into();
    let body = if body.is_empty() { Body::empty() } else { Body::full(body) };
    Request { id: RequestId(7), head, body, origin, base_length: 0, uploads: Rc::default(), onward: Onward::default(), user: None }
}

async fn load_with(source: &str, limits: Limits, mode: Mode) -> Rc<ScriptApp> {
    let source = Source::memory([("main.luau", source), ("templates/page.html", "<p>{{ name }}</p>")]);
    match ScriptApp::load("test", source, &json!({}), limits, Services::alone(), mode).await {
        Ok(app) => app,
        Err(error) => panic!("{error}"),
    }
}

async fn load(source: &str) -> Rc<ScriptApp> {
    load_with(source, Limits::default(), Mode::Development).await
}

async fn answer(app: &Rc<ScriptApp>, request: Request) -> Response {
    match app.clone().request(request) {
        Answer::Now(response) => response,
        Answer::Later(response) => response.await,
    }
}

async fn text(response: Response) -> String {
    let bytes = match response.body {
        ResponseBody::Empty => Vec::new(),
        ResponseBody::Bytes(bytes) => bytes.to_vec(),
        ResponseBody::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece.expect("a piece"));
            }
            all
        }
        _ => panic!("a file"),
    };
    String::from_utf8(bytes).expect("text")
}

fn run<F: Future<Output = ()> + 'static>(body: F) {
    reactor::run(body).expect("a reactor");
}

#[test]
fn the_kinds_of_replies() {
    run(async {
        let app = load(
            r#"
            local skep = require("@skep")
            return { request = function(req)
                if req.path == "/text" then return "Hello, " .. req.path end
                if req.path == "/table" then return { status = 201, headers = { ["X-One"] = "1", ["X-Two"] = { "a", "b" }, ["Content-Type"] = "text/plain" }, body = "made" } end
                if req.path == "/nothing" then return end
                if req.path == "/redirect" then return skep.redirect("/elsewhere") end
                if req.path == "/template" then return skep.template("page.html", { name = "<b>" }) end
                if req.path == "/json" then return skep.json_reply({ 1, 2 }) end
                if req.path == "/bad" then return 7 end
                if req.path == "/badheader" then return { headers = { ["X-Evil"] = "a\r\nb: c" } } end
                return { status = 404, body = "no " .. req.path }
            end }
        "#,
        )
        .await;
        let get = async |path: &str| answer(&app, request("GET", path, &[], "")).await;
        let response = get("/text").await;
        assert_eq!((response.status, response.fields.get("content-type")), (200, Some(&b"text/html; charset=utf-8"[..])));
        assert_eq!(text(response).await, "Hello, /text");
        let response = get("/table").await;
        assert_eq!(response.status, 201);
        assert_eq!(response.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"x-two")).count(), 2);
        assert_eq!(response.fields.get("content-type"), Some(&b"text/plain"[..]));
        assert_eq!(get("/nothing").await.status, 204);
        let response = get("/redirect").await;
        assert_eq!((response.status, response.fields.get("location")), (303, Some(&b"/elsewhere"[..])));
        assert_eq!(text(get("/template").await).await, "<p>&lt;b&gt;</p>");
        assert_eq!(text(get("/json").await).await, "[1,2]");
        assert_eq!(get("/bad").await.status, 500);
        assert_eq!(get("/badheader").await.status, 500);
        assert_eq!(get("/%41?x").await.status, 404);
        assert_eq!(text(get("/%41?x").await).await, "no /A");
        assert_eq!(app.requests(), 0);
    });
}

#[test]
fn what_a_request_has() {
    run(async {
        let app = load(
            r#"
            local skep = require("@skep")
            return { request = function(req)
                return skep.json { req.method, req.path, req.base, req.url, req.query, req.get, req.post, req.cookies, req.headers["x-a"], req.remote.address,
                    req.remote.port, req.server.name, req.server.host, req.id, req:body() }
            end }
        "#,
        )
        .await;
        let headers = [("Host", "example.com:80"), ("X-A", "1"), ("X-A", "2"), ("Cookie", "a=%u0416; b=2")];
        let response = answer(&app, request("POST", "/p%20q?a=1&b[]=2&b[]=3&c[k]=%u0416", &headers, "raw")).await;
        let expected = json!(["POST", "/p q", "", "/p%20q?a=1&b[]=2&b[]=3&c[k]=%u0416", "a=1&b[]=2&b[]=3&c[k]=%u0416",
            {"a": "1", "b": ["2", "3"], "c": {"k": "Ж"}}, {}, {"a": "Ж", "b": "2"}, "1, 2", "192.0.2.1", 5000, "web", "example.com",
            "000000000007", "raw"]);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text(response).await).expect("JSON"), expected);
    });
}

#[test]
fn forms_and_uploads_are_read_before_the_handler() {
    run(async {
        let app = load(
            r#"
            local skep = require("@skep")
            return { request = function(req)
                local file = req.files.doc
                return skep.json { req.form, file and { file.filename, file.type, file.size, file:read() } or "none", #(req.files.many or {}) }
            end }
        "#,
        )
        .await;
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let response = answer(&app, request("POST", "/", &form, "a=1&a=2&t[x]=y+z")).await;
        assert_eq!(text(response).await.parse::<serde_json::Value>().expect("JSON"), json!([{"a": "2", "t": {"x": "y z"}}, "none", 0]));
        let part = |head: &str, body: &str| format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
        let body = [
            part("name=\"a\"", "1"),
            part("name=\"doc\"; filename=\"../x/d.txt\"\r\nContent-Type: text/plain", "content"),
            part("name=\"many[]\"; filename=\"1\"", &"x".repeat(200_000)),
            part("name=\"many[]\"; filename=\"2\"", "2"),
            "--B--\r\n".to_owned(),
        ]
        .concat();
        let multipart = [("Content-Type", "multipart/form-data; boundary=B")];
        let response = answer(&app, request("POST", "/", &multipart, body)).await;
        assert_eq!(
            text(response).await.parse::<serde_json::Value>().expect("JSON"),
            json!([{"a": "1"}, ["d.txt", "text/plain", 7, "content"], 2])
        );
        let response = answer(&app, request("POST", "/", &multipart, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1")).await;
        assert_eq!(response.status, 400);
    });
}

#[test]
fn an_upload_can_be_streamed_by_the_handler() {
    run(async {
        let app = load(
            r#"
            return { stream = { "/up" }, request = function(req)
                local seen = {}
                for part in req:parts() do
                    local size = 0
                    for chunk in part:chunks() do size += #chunk end
                    table.insert(seen, `{part.name}={part.filename or "-"}:{size}`)
                end
                return table.concat(seen, " ")
            end }
        "#,
        )
        .await;
        let body = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n12345\r\n--B--";
        let multipart = [("Content-Type", "multipart/form-data; boundary=B")];
        assert_eq!(text(answer(&app, request("POST", "/up/x", &multipart, body)).await).await, "a=-:1 f=n:5");
    });
}

#[test]
fn a_reply_can_be_written_piece_by_piece() {
    run(async {
        let app = load(
            r#"
            local skep = require("@skep")
            return { request = function(req)
                if req.path == "/at-once" then
                    req:head(202, { ["X-H"] = "1", ["Content-Type"] = "text/plain" })
                    req:write("a", "b")
                    return "c"
                elseif req.path == "/slowly" then
                    for i = 1, 3 do req:write("line " .. i .. "\n") req:flush() skep.sleep("5ms") end
                    return "end"
                elseif req.path == "/much" then
                    for i = 1, 100 do req:write(string.rep("x", 10000)) end
                elseif req.path == "/sse" then
                    return skep.sse(function(events)
                        events:send { event = "tick", id = 1, data = "one\ntwo" }
                        events:send { data = { n = 1 } }
                        events:comment("bye")
                    end)
                elseif req.path == "/fails" then
                    req:write("started") req:flush()
                    error("late")
                end
            end }
        "#,
        )
        .await;
        let get = async |path: &str| answer(&app, request("GET", path, &[], "")).await;
        let response = get("/at-once").await;
        assert_eq!((response.status, response.fields.get("x-h")), (202, Some(&b"1"[..])));
        assert_eq!(text(response).await, "abc");
        let response = get("/slowly").await;
        assert!(matches!(response.body, ResponseBody::Stream(_)));
        assert_eq!(text(response).await, "line 1\nline 2\nline 3\nend");
        assert_eq!(text(get("/much").await).await.len(), 1_000_000);
        let response = get("/sse").await;
        assert_eq!(response.fields.get("content-type"), Some(&b"text/event-stream"[..]));
        assert_eq!(text(response).await, "id: 1\nevent: tick\ndata: one\ndata: two\n\ndata: {\"n\":1}\n\n: bye\n\n");
        let ResponseBody::Stream(mut body) = get("/fails").await.body else { panic!("a stream") };
        assert_eq!(body.next().await.expect("a piece").expect("written"), "started");
        assert!(body.next().await.expect("an error").is_err());
        assert_eq!(app.requests(), 0);
    });
}

#[test]
fn sleep_wakeup_terminate_and_the_hooks() {
    run(async {
        let app = load(
            r#"
            local skep = require("@skep")
            local log, sleeper = {}, nil
            return { request = function(req)
                if req.path == "/sleep" then
                    sleeper = req
                    return req:sleep(30) .. " " .. req:sleep("5ms")
                elseif req.path == "/wake" then
                    sleeper:wakeup()
                elseif req.path == "/terminate" then
                    req.onfinish = function() table.insert(log, "finished") end
                    req.onabort = function() table.insert(log, "aborted?") end
                    req:write("until here")
                    req:terminate()
                    table.insert(log, "never")
                elseif req.path == "/wait" then
                    req.onabort = function(r) table.insert(log, "abort " .. r.path) end
                    req.onfinish = function(r) table.insert(log, "finish " .. r.path) end
                    skep.sleep(60)
                end
                return table.concat(log, "; ")
            end }
        "#,
        )
        .await;
        let get = |path: &'static str| {
            let app = app.clone();
            async move { text(answer(&app, request("GET", path, &[], "")).await).await }
        };
        let sleeping = reactor::spawn(get("/sleep"));
        while app.requests() == 0 {
            reactor::yield_now().await;
        }
        get("/wake").await;
        assert_eq!(sleeping.await, "woken timeout");
        assert_eq!(get("/terminate").await, "until here");
        {
            let mut waiting = Box::pin(get("/wait"));
            assert!(futures_lite::future::poll_once(&mut waiting).await.is_none());
        }
        app.context.scope.wait().await;
        assert_eq!(get("/log").await, "finished; abort /wait; finish /wait");
    });
}

#[test]
fn errors_are_shown_in_development_only_and_the_application_lives() {
    run(async {
        let source = r#"
            return { request = function(req)
                if req.path == "/fail" then
                    error("no <such> thing")
                elseif req.path == "/loop" then
                    while true do end
                elseif req.path == "/memory" then
                    local t = {} while true do table.insert(t, string.rep("x", 100000) .. #t) end
                end
                return "fine"
            end }
        "#;
        let limits = Limits { step: Duration::from_millis(500), memory: 8 << 20, ..Limits::default() };
        let app = load_with(source, limits.clone(), Mode::Development).await;
        let page = answer(&app, request("GET", "/fail", &[], "")).await;
        assert_eq!(page.status, 500);
        let page = text(page).await;
        assert!(page.contains("no &lt;such&gt; thing") && page.contains("main.luau:4") && page.contains("class=at"), "{page}");
        assert!(text(answer(&app, request("GET", "/loop", &[], "")).await).await.contains("step limit"));
        assert!(text(answer(&app, request("GET", "/memory", &[], "")).await).await.contains("out of memory"));
        assert_eq!(text(answer(&app, request("GET", "/", &[], "")).await).await, "fine");
        assert_eq!(app.last_fault().expect("one").kind, crate::script::fault::FaultKind::Memory);
        let app = load_with(source, limits, Mode::Production).await;
        let response = answer(&app, request("GET", "/fail", &[], "")).await;
        assert_eq!(response.status, 500);
        assert!(!text(response).await.contains("such"));
    });
}

#[test]
fn what_cannot_be_loaded_says_why() {
    run(async {
        let load = async |files: &[(&str, &str)]| {
            let source = Source::memory(files.iter().map(|(name, text)| (*name, *text)));
            match ScriptApp::load("test", source, &json!({"a": 1}), Limits::default(), Services::alone(), Mode::Development).await {
                Ok(_) => "loaded".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "there is no main.luau"),
            (&[("main.luau", "return {")], "main.luau:1: Expected identifier when parsing expression, got <eof>"),
            (&[("main.luau", "return 7")], "main.luau returns a number, where it should return its table of handlers"),
            (&[("main.luau", "return { request = 7 }")], "app.request is a function, not a number"),
            (&[("main.luau", "return { init = function(c) error('init: ' .. c.a) end }")], "main.luau:1: init: 1"),
            (&[("main.luau", "\nreturn require('./x')")], "main.luau:2: require \"./x\": no file x.luau in the application's directory"),
            (&[("main.luau", "return require('../x')")], "main.luau:1: require \"../x\": leads out of the application's directory"),
            (
                &[("main.luau", "return require('x')")],
                "main.luau:1: require \"x\": modules are named ./NAME, ../NAME, @self/NAME or @skep/NAME",
            ),
            (
                &[
                    ("main.luau", "return require('./a')"),
                    ("a.luau", "return require('./lib/b')"),
                    ("lib/b.luau", "return require('../a')"),
                ],
                "require: files that need each other: a.luau → lib/b.luau → a.luau",
            ),
            (
                &[
                    ("main.luau", "return require('./lib')"),
                    ("lib/init.luau", "assert(require('./beside') == 'beside') return require('@self/y')"),
                    ("lib/y.luau", "assert(require('./z') == 'z') assert(require('@self/deep') == 'deep') return { n = 1 }"),
                    ("lib/y/deep.luau", "return 'deep'"),
                    ("lib/z.luau", "return 'z'"),
                    ("beside.luau", "return 'beside'"),
                ],
                "loaded",
            ),
            (&[("init.luau", "return require('@self/y')"), ("y.luau", "return { request = function() end }")], "loaded"),
            (
                &[("init.luau", "return require('./y')"), ("y.luau", "return {}")],
                "leads out of the application's directory: in an init.luau the files beside it are named by @self: \"@self/y\"",
            ),
            (
                &[("main.luau", "return require('./lib')"), ("lib/init.luau", "return require('./y')"), ("lib/y.luau", "return 1")],
                "no file y.luau in the application's directory; in an init.luau the files beside it are named by @self: \"@self/y\"",
            ),
            (&[("main.luau", "return require('@self/../../x')")], "leads out of the application's directory"),
            (&[("main.luau", "assert(require('./a') == require('./a.luau')) return {}"), ("a.luau", "return {}")], "loaded"),
        ];
        for (files, expected) in cases {
            let said = load(files).await;
            assert!(said.ends_with(expected), "{said}\n{expected}");
        }
    });
}

#[test]
fn tasks_timers_and_queued_requests() {
    run(async {
        let app = load(
            r#"
            local skep = require("@skep")
            local log = {}
            local app = {}
            function app.request(req)
                if req.path == "/start" then
                    local task = skep.spawn(function(a, b) skep.sleep(0.001) table.insert(log, a .. b) end, "spa", "wned")
                    task:wait()
                    assert(task:done())
                    local count, timer = 0, nil
                    timer = skep.every("10ms", function() count += 1 table.insert(log, "tick" .. count) if count == 2 then timer:cancel() req:wakeup() end end)
                    skep.after("1ms", function() table.insert(log, "after") end)
                    skep.after("1ms", function() table.insert(log, "elected") end, { once = true })
                    skep.after(30, function() end):cancel()
                    local id = skep.enqueue { path = "/queued?x=1", method = "POST", body = "b" }
                    assert(#id == 12)
                    assert(req:sleep(5) == "woken")
                    skep.spawn(function() error("logged only") end):wait()
                elseif req.path == "/queued" then
                    table.insert(log, "queued " .. req.method .. req.get.x .. req:body() .. req.server.name)
                end
                table.sort(log)
                return table.concat(log, " ")
            end
            return app
        "#,
        )
        .await;
        let log = text(answer(&app, request("GET", "/start", &[], "")).await).await;
        assert_eq!(log, "after elected queued POST1bqueue spawned tick1 tick2");
        app.context.scope.wait().await;
        assert_eq!(app.context.tasks.used(), 0);
    });
}

#[test]
fn limits_on_tasks_are_errors_of_the_script() {
    run(async {
        let limits = Limits { tasks: 2, ..Limits::default() };
        let source = r#"
            local skep = require("@skep")
            return { request = function() for i = 1, 3 do skep.spawn(function() skep.sleep(0.001) end) end end }
        "#;
        let app = load_with(source, limits, Mode::Development).await;
        let page = text(answer(&app, request("GET", "/", &[], "")).await).await;
        assert!(page.contains("spawn: this application has its 2 tasks already"), "{page}");
        app.retire(Duration::from_secs(5)).await;
    });
}

#[test]
fn code_is_gone_when_its_last_user_is() {
    run(async {
        let app =
            load("local skep = require('@skep') skep.every(1, function() end) return { request = function() skep.sleep(60) end }").await;
        let vm = Rc::downgrade(&app.vm);
        let mut waiting = Box::pin(answer(&app, request("GET", "/", &[], "")));
        assert!(futures_lite::future::poll_once(&mut waiting).await.is_none());
        app.retire(Duration::ZERO).await;
        assert!(vm.upgrade().is_some());
        drop(waiting);
        drop(app);
        assert!(vm.upgrade().is_none());
    });
}

#[test]
fn files_are_sent_whole_in_part_or_not_at_all() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a path");
        std::fs::write(root.join("data.txt"), "0123456789").expect("written");
        // A file that was changed just now has a weak tag, which says nothing of its parts.
        let data = std::fs::File::options().write(true).open(root.join("data.txt")).expect("the file");
        data.set_modified(std::time::SystemTime::now() - Duration::from_mins(1)).expect("a time");
        let main = r#"local skep = require("@skep") return { request = function(req) return skep.file(string.sub(req.path, 2), { download = "d.txt" }) end }"#;
        std::fs::write(root.join("main.luau"), main).expect("written");
        let (source, config) = (Source::directory(&root), json!({}));
        let load = ScriptApp::load("test", source, &config, Limits::default(), Services::alone(), Mode::Development);
        let app = load.await.expect("an application");
        assert_eq!(app.files_read(), [root.join("main.luau")]);
        let get = async |path: &str, headers: &[(&str, &str)]| answer(&app, request("GET", path, headers, "")).await;
        let whole = get("/data.txt", &[]).await;
        assert_eq!((whole.status, whole.field("content-type")), (200, Some(&b"text/plain; charset=utf-8"[..])));
        assert!(whole.field("content-disposition").is_some());
        let etag = String::from_utf8(whole.field("etag").expect("a tag").to_vec()).expect("text");
        let ResponseBody::File(range) = whole.body else { panic!("a file") };
        assert_eq!((range.offset, range.length), (0, 10));
        assert_eq!(get("/data.txt", &[("If-None-Match", &etag)]).await.status, 304);
        let part = get("/data.txt", &[("Range", "bytes=2-4"), ("If-Range", &etag)]).await;
        assert_eq!((part.status, part.field("content-range")), (206, Some(&b"bytes 2-4/10"[..])));
        let ResponseBody::File(range) = part.body else { panic!("a file") };
        assert_eq!((range.offset, range.length), (2, 3));
        assert_eq!(get("/data.txt", &[("Range", "bytes=2-4"), ("If-Range", "\"old\"")]).await.status, 200);
        assert_eq!(get("/data.txt", &[("Range", "bytes=10-")]).await.status, 416);
        for missing in ["/none.txt", "/../main.luau", "/%2e%2e/%2e%2e/etc/passwd"] {
            assert_eq!(get(missing, &[]).await.status, 500, "{missing}");
        }
    });
}

#[test]
fn a_saved_template_is_taken_up() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::fs::create_dir(root.join("templates")).expect("made");
        let page = root.join("templates/page.html");
        std::fs::write(&page, "old {% include 'part.html' %}").expect("written");
        let part = root.join("templates/part.html");
        std::fs::write(&part, "part").expect("written");
        std::fs::write(root.join("main.luau"), "return { request = function() return require('@skep').template('page.html') end }")
            .expect("written");
        let (source, config) = (Source::directory(root), json!({}));
        let load = ScriptApp::load("test", source, &config, Limits::default(), Services::alone(), Mode::Development);
        let app = load.await.expect("an application");
        assert_eq!(text(answer(&app, request("GET", "/", &[], "")).await).await, "old part");
        let later = std::time::SystemTime::now() + Duration::from_secs(5);
        std::fs::write(&part, "new").expect("written");
        std::fs::File::options().write(true).open(&part).expect("opened").set_modified(later).expect("set");
        assert_eq!(text(answer(&app, request("GET", "/", &[], "")).await).await, "old new");
    });
}

#[test]
fn timers_end_when_newer_code_takes_over() {
    run(async {
        let source = r#"
            local skep = require("@skep")
            skep.every("1h", function() end)
            skep.after("1h", function() end, { once = true })
            return { request = function() end }
        "#;
        let app = load(source).await;
        assert_eq!(app.context.tasks.used(), 2);
        let start = std::time::Instant::now();
        app.retire(Duration::from_secs(30)).await;
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(app.context.tasks.used(), 0);
    });
}

#[test]
fn raw_connections_are_served_and_closed() {
    use crate::net::{Socket, Stream};
    run(async {
        let app = load(
            r#"
            local kept
            return {
                connection = function(connection)
                    kept = connection
                    connection:write("hello ", connection.remote.address, "\n")
                    for line in connection:lines { max = 100 } do
                        if line == "fail" then error("in the handler") end
                        connection:write("you said ", line, "\r\n")
                    end
                end,
                request = function() return tostring(kept.is_open) end,
            }
        "#,
        )
        .await;
        assert!(app.takes_connections());
        for (sent, expected) in [("a\r\nb\n", "hello 192.0.2.1\nyou said a\r\nyou said b\r\n"), ("fail\nx\n", "hello 192.0.2.1\n")] {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
            let stream = |end: std::os::unix::net::UnixStream| {
                end.set_nonblocking(true).expect("set");
                Stream::from(Socket::new(end.into()).expect("a socket"))
            };
            let (client, server) = (stream(ours), stream(theirs));
            let peer = Peer::Ip("192.0.2.1:5000".parse().expect("an address"));
            let origin = Rc::new(Origin::new(peer.clone(), peer, "raw".into()));
            client.write_all(sent.as_bytes()).await.expect("written");
            client.shutdown_write().await.expect("ended");
            app.clone().connection(Connection { stream: Rc::new(server), origin }).await;
            let mut all = Vec::new();
            let mut buffer = [0; 256];
            while let Ok(read @ 1..) = client.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..read]);
            }
            assert_eq!(String::from_utf8(all).expect("text"), expected);
            assert_eq!(text(answer(&app, request("GET", "/", &[], "")).await).await, "false");
        }
    });
}
