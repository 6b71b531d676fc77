//! Files that an application names by `X-Sendfile`.

use std::fs;

use super::*;
use crate::request::file::SentFiles;

const SOURCE: &str = r#"
local skep = require("@skep")
local paths = {}

paths["/table"] = function(req)
    return {
        body = "ignored",
        headers = { ["x-sendfile"] = req.get.name, ["X-Own"] = { "1", "2" }, ["Content-Encoding"] = "gzip", ETag = '"mine"' },
        cookies = { skep.cookie("a", "1") },
    }
end

paths["/typed"] = function(req)
    return { status = 403, headers = { ["X-SendFile"] = req.get.name, ["content-type"] = "text/x-own" } }
end

paths["/file"] = function(req)
    return skep.file("main.luau", { headers = { ["X-Sendfile"] = req.get.name } })
end

paths["/written"] = function(req)
    req:head(200, { ["X-Sendfile"] = req.get.name, ["X-Own"] = "1" })
    req:write("ignored")
    return "as well"
end

paths["/piece"] = function(req)
    req:head(200, { ["X-Sendfile"] = req.get.name })
    for _ = 1, 5 do
        req:write(string.rep("x", 100000))
        req:flush()
        req:sleep("1ms")
    end
end

paths["/fails"] = function(req)
    req:head(200, { ["X-Sendfile"] = req.get.name })
    req:write("ignored")
    req:flush()
    error("on purpose")
end

return { request = function(req) return paths[req.path](req) end }
"#;

async fn app(roots: &[std::path::PathBuf]) -> Rc<ScriptApp> {
    let services = Services { sent: Rc::new(SentFiles::open(roots).expect("the directory")), ..Services::alone() };
    let source = Source::memory([("main.luau", SOURCE)]);
    match ScriptApp::load("test", source, &json!({}), Limits::default(), services, Mode::Production).await {
        Ok(app) => app,
        Err(error) => panic!("{error}"),
    }
}

/// What a response would send.
fn sent(response: &Response) -> String {
    use std::os::unix::fs::FileExt;
    match &response.body {
        ResponseBody::File(range) => {
            let mut bytes = vec![0; usize::try_from(range.length).expect("a small file")];
            range.file.read_exact_at(&mut bytes, range.offset).expect("the file");
            String::from_utf8(bytes).expect("text")
        }
        ResponseBody::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ResponseBody::Empty => String::new(),
        _ => "something else".to_owned(),
    }
}

#[test]
fn a_file_takes_the_place_of_every_kind_of_body() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file.txt"), "0123456789").expect("a file");
        let app = app(&[folder.path().to_owned()]).await;
        let name = folder.path().join("file.txt").display().to_string();
        let field = |response: &Response, name: &str| response.field(name).map(|value| String::from_utf8_lossy(value).into_owned());
        for path in ["/table", "/file", "/written", "/piece"] {
            let response = answer(&app, request("GET", &format!("{path}?name={name}"), &[], "")).await;
            assert_eq!((response.status, sent(&response).as_str()), (200, "0123456789"), "{path}");
            assert_eq!(field(&response, "content-type").as_deref(), Some("text/plain; charset=utf-8"), "{path}");
            assert_eq!(response.all_fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-type")).count(), 1, "{path}");
            assert_eq!((field(&response, "x-sendfile"), field(&response, "content-encoding")), (None, None), "{path}");
        }
        let response = answer(&app, request("GET", &format!("/table?name={name}"), &[], "")).await;
        assert_eq!(response.all_fields().filter(|(name, _)| *name == b"X-Own").count(), 2);
        assert!(field(&response, "set-cookie").is_some());
        // The tag of the file, not the application's.
        let tag = field(&response, "etag").expect("a tag");
        assert_ne!(tag, "\"mine\"");

        let response = answer(&app, request("GET", &format!("/table?name={name}"), &[("range", "bytes=2-4")], "")).await;
        assert_eq!((response.status, sent(&response).as_str()), (206, "234"));
        assert_eq!(field(&response, "content-range").as_deref(), Some("bytes 2-4/10"));
        let response = answer(&app, request("GET", &format!("/table?name={name}"), &[("range", "bytes=20-")], "")).await;
        assert_eq!((response.status, field(&response, "x-own")), (416, None));
        let response = answer(&app, request("GET", &format!("/table?name={name}"), &[("if-none-match", &tag)], "")).await;
        assert_eq!((response.status, sent(&response).as_str(), field(&response, "x-own").as_deref()), (304, "", Some("1")));
        let response = answer(&app, request("HEAD", &format!("/table?name={name}"), &[], "")).await;
        assert_eq!((response.status, response.body.length()), (200, Some(10)));
        // A status of its own has the whole file.
        let response = answer(&app, request("GET", &format!("/typed?name={name}"), &[("range", "bytes=2-4")], "")).await;
        assert_eq!((response.status, sent(&response).as_str()), (403, "0123456789"));
        assert_eq!(field(&response, "content-type").as_deref(), Some("text/x-own"));

        let response = answer(&app, request("GET", &format!("/fails?name={name}"), &[], "")).await;
        assert_eq!(response.status, 500);
    });
}

#[test]
fn what_lies_elsewhere_is_not_sent() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).expect("a folder");
        fs::write(folder.path().join("outside.txt"), "secret").expect("a file");
        std::os::unix::fs::symlink("../outside.txt", inside.join("link")).expect("a link");
        let app = app(std::slice::from_ref(&inside)).await;
        let shown = inside.display();
        for name in [
            "/etc/passwd".to_owned(),
            String::new(),
            "file.txt".to_owned(),
            format!("{shown}"),
            format!("{shown}/missing"),
            format!("{shown}/../outside.txt"),
            format!("{shown}/link"),
        ] {
            for path in ["/table", "/written"] {
                let response = answer(&app, request("GET", &format!("{path}?name={name}"), &[], "")).await;
                assert_eq!(response.status, 404, "{path} {name}");
                assert!(response.field("x-own").is_none());
            }
        }
    });
}

#[test]
fn without_directories_it_is_a_field_like_others() {
    run(async {
        let app = app(&[]).await;
        for path in ["/table", "/written"] {
            let response = answer(&app, request("GET", &format!("{path}?name=/etc/passwd"), &[], "")).await;
            assert_eq!((response.status, response.field("x-sendfile")), (200, Some(&b"/etc/passwd"[..])), "{path}");
            assert!(sent(&response).starts_with("ignored"), "{path}");
            assert_eq!(response.field("content-type"), Some(&b"text/html; charset=utf-8"[..]), "{path}");
        }
    });
}
