//! What the browser sees of an error that nobody caught.

use std::fmt::Write as _;

use super::context::{AppContext, Mode};
use super::fault::{Fault, FaultKind};
use super::request::ScriptRequest;
use crate::request::form::FormReadError;
use crate::request::{BodyError, Response, ResponseBody};

/// The answer to a request whose handler failed: everything in development, nothing but the number in production.
pub(super) fn response(app: &AppContext, fault: &Fault, request: Option<&ScriptRequest>) -> Response {
    if app.mode == Mode::Production {
        return match request {
            Some(request) => Response::error(500, &format!("the application failed (request {})", request.id)),
            None => Response::error(500, "the application failed"),
        };
    }
    let mut response = Response::new(500, ResponseBody::from(page(&app.name, fault, request).into_bytes()));
    response.fields.push_static("Content-Type", "text/html; charset=utf-8");
    response.fields.push_static("Cache-Control", "no-store");
    response.fields.push_static("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
    response
}

/// The answer to an error that the client has made: a form or body that the handler asked for and could not have.
pub(super) fn refusal(error: &mlua::Error) -> Option<Response> {
    let status = error.chain().find_map(|cause| {
        let form = cause.downcast_ref::<FormReadError>().map(FormReadError::status);
        form.or_else(|| cause.downcast_ref::<BodyError>().map(BodyError::status))
    });
    let said = error.chain().last().map(ToString::to_string).unwrap_or_default();
    status.filter(|status| *status < 500).map(|status| Response::error(status, &said))
}

/// The page of an application that cannot be loaded, for development.
#[must_use]
pub fn load_failure(app: &str, fault: &Fault) -> String {
    page(app, fault, None)
}

/// The page of an application that cannot be loaded for another reason than its code, for development.
#[must_use]
pub fn not_loaded(app: &str, why: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{app} cannot be loaded</title><style>{STYLE}</style><main><p class=app>{app} <span>cannot be loaded</span></p><h1>{why}</h1>\
         <footer>This page is shown because the application runs in development.</footer></main>",
        app = escape(app),
        why = escape(why),
    )
}

fn page(app: &str, fault: &Fault, request: Option<&ScriptRequest>) -> String {
    let title = match fault.kind {
        FaultKind::Syntax => "does not compile",
        FaultKind::Runtime => "failed",
        FaultKind::Memory => "ran out of memory",
        FaultKind::StepLimit => "ran too long",
    };
    let mut html = String::with_capacity(8192);
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{app} {title}</title><style>{STYLE}</style><main><p class=app>{app} <span>{title}</span></p><h1>{message}</h1>",
        app = escape(app),
        message = escape(&fault.message),
    );
    excerpt(&mut html, fault);
    trace(&mut html, fault);
    if let Some(request) = request {
        let _ = write!(
            html,
            "<section><h2>Request</h2><dl><dt>{}</dt><dd>{}</dd><dt>Number</dt><dd>{}</dd></dl></section>",
            escape(request.head.method.as_str()),
            escape(request.head.target()),
            request.id
        );
    }
    html.push_str("<footer>This page is shown because the application runs in development. In production the client learns only that it failed.</footer></main>");
    html
}

fn excerpt(html: &mut String, fault: &Fault) {
    let (Some(place), Some(excerpt)) = (&fault.place, &fault.excerpt) else { return };
    let _ = write!(html, "<section><h2>{}</h2><pre class=source>", escape(&place.to_string()));
    for (number, line) in (excerpt.first..).zip(&excerpt.lines) {
        let class = if number == place.line { " class=at" } else { "" };
        let _ = write!(html, "<span{class}><i>{number}</i>{}</span>", escape(line));
    }
    html.push_str("</pre></section>");
}

fn trace(html: &mut String, fault: &Fault) {
    if fault.frames.is_empty() {
        return;
    }
    html.push_str("<section><h2>Called from</h2><ol>");
    for frame in &fault.frames {
        let function = frame.function.as_deref().map(|name| format!(" in <b>{}</b>", escape(name))).unwrap_or_default();
        let _ = write!(html, "<li><code>{}</code>{function}</li>", escape(&frame.place.to_string()));
    }
    html.push_str("</ol></section>");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#faf8f3;--card:#fff;--text:#2b2620;--dim:#7c7263;--line:#e7e0d3;--hot:#b3261e;--hotbg:#fdecea}\
@media(prefers-color-scheme:dark){:root{--bg:#1b1815;--card:#24201c;--text:#efe8dc;--dim:#a3988a;--line:#38322b;--hot:#ff8a7a;--hotbg:#3b211d}}\
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);font:16px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem}.app{margin:0;font-weight:600;color:var(--dim)}.app span{color:var(--hot)}\
h1{margin:.25rem 0 1.75rem;font-size:1.5rem;line-height:1.35;white-space:pre-wrap;overflow-wrap:anywhere}\
h2{margin:0;padding:.6rem 1rem;font:600 .85rem ui-monospace,monospace;color:var(--dim);border-bottom:1px solid var(--line)}\
section{margin:0 0 1.25rem;background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow:hidden}\
pre,code,dd{font:.85rem/1.6 ui-monospace,monospace}pre{margin:0;padding:.5rem 0;overflow-x:auto;tab-size:4}\
.source span{display:block;min-width:max-content;padding:0 1rem}.source i{display:inline-block;width:3rem;color:var(--dim);font-style:normal;user-select:none}\
.source .at{background:var(--hotbg);box-shadow:inset 3px 0 var(--hot)}.source .at i{color:var(--hot);font-weight:700}\
ol{margin:0;padding:.6rem 1rem .6rem 2.4rem}li::marker{color:var(--dim)}dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:0;padding:.6rem 1rem}\
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}footer{color:var(--dim);font-size:.85rem}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::fault::{Excerpt, Frame, Place};

    #[test]
    fn nothing_of_the_script_gets_into_the_page_unescaped() {
        let place = Place { file: "<f>.luau".to_owned(), line: 2 };
        let fault = Fault {
            kind: FaultKind::Runtime,
            message: "<script>alert('x')</script>".to_owned(),
            place: Some(place.clone()),
            frames: vec![Frame { place, function: Some("<b>".to_owned()) }],
            excerpt: Some(Excerpt { first: 1, lines: vec!["<i>".to_owned(), "\"quoted\" & more".to_owned()] }),
        };
        let page = load_failure("<app>", &fault);
        for (raw, escaped) in [
            ("<script>", "&lt;script&gt;alert(&#39;x&#39;)"),
            ("<app>", "&lt;app&gt;"),
            ("<f>", "&lt;f&gt;.luau:2"),
            ("in <b><b>", "in <b>&lt;b&gt;</b>"),
            ("\"quoted\"", "<span class=at><i>2</i>&quot;quoted&quot; &amp; more</span>"),
        ] {
            assert!(!page.contains(raw) && page.contains(escaped), "{raw}");
        }
    }
}
