//! Forms that are refused: the handler runs, and is told when it looks.

use super::*;
use crate::request::form::{FormLimits, UploadLimits};

const URLENCODED: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];
const MULTIPART: [(&str, &str); 1] = [("Content-Type", "multipart/form-data; boundary=B")];

const APP: &str = r#"
    return { request = function(req)
        if req.path == "/unread" then return "not looked at" end
        if req.path == "/body" then return tostring(#req:body()) end
        if req.path == "/chunks" then
            local size = 0
            for chunk in req:chunks() do size += #chunk end
            return tostring(size)
        end
        if req.path == "/caught" then
            local ok, why = pcall(function() return req.form end)
            return { status = 200, body = tostring(ok) .. " " .. tostring(why) .. " " .. #req:body() }
        end
        if req.path == "/parts" then
            local names = {}
            for part in req:parts() do table.insert(names, part.name) end
            return table.concat(names, ",")
        end
        if req.path == "/again" then return tostring(#req:read_form()) end
        return tostring(#(if req.path == "/files" then req.files else req.post))
    end }
"#;

/// A request whose body comes without a length, in pieces.
struct Pieces(RefCell<Vec<Bytes>>);

impl crate::request::BodySource for Pieces {
    fn poll_chunk(&self, _: &mut Context<'_>) -> std::task::Poll<Result<Option<Bytes>, crate::request::BodyError>> {
        std::task::Poll::Ready(Ok(self.0.borrow_mut().pop()))
    }
}

fn small_limits() -> Rc<UploadLimits> {
    Rc::new(UploadLimits { form: FormLimits { bytes: 100, fields: 3, depth: 2 }, ..UploadLimits::default() })
}

async fn ask(app: &Rc<ScriptApp>, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> (u16, String) {
    let response = answer(app, Request { uploads: small_limits(), ..request("POST", path, headers, body) }).await;
    (response.status, text(response).await)
}

#[test]
fn a_form_that_is_too_large_is_told_when_it_is_looked_at() {
    run(async {
        let app = load(APP).await;
        let large = format!("a={}", "x".repeat(200));
        assert_eq!(ask(&app, "/unread", &URLENCODED, large.clone()).await, (200, "not looked at".into()));
        for path in ["/body", "/chunks"] {
            assert_eq!(ask(&app, path, &URLENCODED, large.clone()).await, (200, "202".into()), "{path}");
        }
        for path in ["/post", "/files", "/again"] {
            let (status, said) = ask(&app, path, &URLENCODED, large.clone()).await;
            assert!(status == 413 && said.contains("larger than 100 bytes"), "{path}: {status} {said}");
        }
        let (status, said) = ask(&app, "/caught", &URLENCODED, large).await;
        assert!(status == 200 && said.starts_with("false ") && said.ends_with("larger than 100 bytes 202"), "{said}");
        assert!(app.last_fault().is_none(), "what a client does wrong is no fault of the application");
    });
}

#[test]
fn a_form_without_a_length_is_given_back_whole() {
    run(async {
        let app = load(APP).await;
        for (path, status, said) in [("/body", 200, "150"), ("/chunks", 200, "150"), ("/post", 413, "larger than 100 bytes")] {
            let pieces = vec![Bytes::from(vec![b'x'; 50]); 3];
            let body = Body::from_source(Rc::new(Pieces(RefCell::new(pieces))), None);
            let response = answer(&app, Request { body, uploads: small_limits(), ..request("POST", path, &URLENCODED, "") }).await;
            assert_eq!(response.status, status, "{path}");
            assert!(text(response).await.contains(said), "{path}");
        }
    });
}

#[test]
fn a_malformed_form_is_told_when_it_is_looked_at() {
    run(async {
        let app = load(APP).await;
        for (headers, body, status) in [
            (&URLENCODED, "a=1&b=2&c=3&d=4", 413),
            (&URLENCODED, "a[b][c][d][e]=1", 400),
            (&MULTIPART, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1", 400),
        ] {
            assert_eq!(ask(&app, "/unread", headers, body).await.0, 200, "{body}");
            assert_eq!(ask(&app, "/body", headers, body).await, (200, body.len().to_string()), "{body}");
            assert_eq!(ask(&app, "/post", headers, body).await.0, status, "{body}");
        }
        let no_boundary = [("Content-Type", "multipart/form-data")];
        assert_eq!(ask(&app, "/unread", &no_boundary, "x").await.0, 200);
        assert_eq!(ask(&app, "/post", &no_boundary, "x").await.0, 400);
        let part = |name: &str, text: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        let large = format!("{}{}--B--", part("a", &"x".repeat(90)), part("b", &"y".repeat(90)));
        assert_eq!(ask(&app, "/post", &MULTIPART, large.clone()).await.0, 413);
        assert_eq!(ask(&app, "/parts", &MULTIPART, large).await, (200, "a,b".into()));
    });
}

#[test]
fn a_body_that_was_read_too_far_says_so() {
    run(async {
        let app = load(APP).await;
        let part = |head: &str, text: &str| format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
        let file = part("name=\"f\"; filename=\"n\"", &"x".repeat(1 << 20));
        let large = format!("{file}{}--B--", part("name=\"a\"", &"y".repeat(200)));
        let asked = |path| Request {
            body: Body::from_source(
                Rc::new(Pieces(RefCell::new(large.as_bytes().chunks(1 << 16).rev().map(Bytes::copy_from_slice).collect()))),
                None,
            ),
            uploads: small_limits(),
            ..request("POST", path, &MULTIPART, "")
        };
        assert_eq!(answer(&app, asked("/unread")).await.status, 200);
        assert_eq!(answer(&app, asked("/post")).await.status, 413);
        let response = answer(&app, asked("/body")).await;
        assert_eq!(response.status, 500);
        assert!(text(response).await.contains("the request body was read already"));
    });
}

#[test]
fn a_body_beyond_the_limit_is_the_clients_fault() {
    run(async {
        let app = load_with(APP, Limits { body: 10, ..Limits::default() }, Mode::Production).await;
        let response = answer(&app, request("POST", "/body", &[], "0123456789a")).await;
        assert_eq!(response.status, 413);
        assert!(text(response).await.contains("the request body is larger than 10 bytes"));
    });
}

/// Saves its first part, and says how that ended.
const SAVES: &str = r#"
    return { stream = { "/" }, request = function(req)
        local path = req.headers["x-path"]
        for part in req:parts() do
            local saved, why = pcall(part.save, part, path)
            return tostring(saved) .. " " .. tostring(why)
        end
        return "no part"
    end }
"#;

#[test]
fn half_a_part_is_not_left_behind() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("a path").join("saved");
        let limits = Limits { write: vec![path.parent().expect("a directory").to_owned()], ..Limits::default() };
        let app = load_with(SAVES, limits, Mode::Development).await;
        let begin = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n";
        let shown = path.display().to_string();
        let headers = [MULTIPART[0], ("X-Path", &*shown)];
        let uploads = Rc::new(UploadLimits { max_file: 10, ..UploadLimits::default() });
        let send = async |body: String| {
            let response = answer(&app, Request { uploads: uploads.clone(), ..request("POST", "/", &headers, body) }).await;
            text(response).await
        };
        assert_eq!(send(format!("{begin}1234567890\r\n--B--")).await, "true 10");
        assert_eq!(std::fs::read(&path).expect("the file"), b"1234567890");
        for (body, why) in [(format!("{begin}12345678901\r\n--B--"), "larger than 10 bytes"), (format!("{begin}123"), "ends too early")] {
            let said = send(body).await;
            assert!(said.starts_with("false ") && said.contains(why), "{said}");
            while path.exists() {
                reactor::sleep(Duration::from_millis(1)).await;
            }
            std::fs::write(&path, "").expect("written");
        }
    });
}

const KEEPS: &str = r#"
    local kept
    return { request = function(req)
        if req.path == "/later" then
            local read, why = pcall(kept.read, kept)
            return `{read} {why} {kept.path} {kept.size}`
        end
        kept = req.files.f
        return kept.path
    end }
"#;

#[test]
fn files_go_with_their_request_and_not_when_the_vm_cleans_up() {
    run(async {
        let app = load(KEEPS).await;
        let body = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n1234567890\r\n--B--";
        let uploads = Rc::new(UploadLimits { memory: 4, ..UploadLimits::default() });
        let response = answer(&app, Request { uploads, ..request("POST", "/", &MULTIPART, body) }).await;
        let path = std::path::PathBuf::from(text(response).await);
        assert!(path.is_absolute() && !path.exists(), "{}", path.display());
        let (_, said) = ask(&app, "/later", &[], "").await;
        assert!(said.starts_with("false ") && said.contains("it has gone with its request nil 10"), "{said}");
    });
}
