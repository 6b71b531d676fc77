//! Which page takes the place of which error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::ErrorPage;
use crate::codec::http::status;
use crate::request::{RequestId, Response};
use crate::secret::Secret;

/// The pages of a route, or of a server where there is no route.
pub(crate) struct Pages {
    by_status: BTreeMap<u16, Rc<Page>>,
}

/// A page.
pub(super) struct Page {
    pub(super) content: Content,
    intercept: bool,
}

/// Where a page comes from.
pub(super) enum Content {
    Text {
        text: String,
        kind: String,
    },
    /// A path of the server answers with it.
    Path(String),
}

/// Fields that speak of the body that a page takes the place of.
const OF_THE_BODY: [&str; 13] = [
    "accept-ranges",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
];

/// Fields of a page that another path answers with, which go with it.
const OF_THE_PAGE: [&str; 4] = ["content-encoding", "content-language", "content-type", "vary"];

fn is_among(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

impl Pages {
    /// The pages of a server and, before those, of a route; `None` when there are none. `files` has the texts of those that are files.
    pub(crate) fn new(server: &[ErrorPage], route: &[ErrorPage], files: Option<&BTreeMap<PathBuf, Secret>>) -> Option<Rc<Self>> {
        let mut by_status = BTreeMap::new();
        for list in [server, route] {
            let made: Vec<Rc<Page>> = list.iter().map(|page| Rc::new(Page::new(page, files))).collect();
            // What is put in later counts: the first of the list, and those for one status, last.
            for only_one in [false, true] {
                for (written, page) in list.iter().zip(&made).rev() {
                    let statuses = written.status.iter().filter(|statuses| statuses.is_one() == only_one);
                    by_status.extend(statuses.flat_map(|statuses| statuses.all()).map(|status| (status, page.clone())));
                }
            }
        }
        (!by_status.is_empty()).then(|| Rc::new(Self { by_status }))
    }

    /// Whether any page is answered by a path.
    pub(super) fn has_paths(&self) -> bool {
        self.by_status.values().any(|page| matches!(page.content, Content::Path(_)))
    }

    /// What takes the place of a response, if anything does.
    pub(super) fn page(&self, response: &Response) -> Option<&Rc<Page>> {
        self.by_status.get(&response.status).filter(|page| response.plain || page.intercept)
    }

    /// The response with its page where that can be made at once: for errors of what is no request.
    pub(crate) fn at_once(&self, response: Response) -> Response {
        match self.page(&response).map(|page| &page.content) {
            Some(Content::Text { text, kind }) => with_text(response, text, kind, None),
            _ => response,
        }
    }
}

impl Page {
    fn new(written: &ErrorPage, files: Option<&BTreeMap<PathBuf, Secret>>) -> Self {
        let content = match (&written.path, &written.file) {
            (Some(path), _) => Content::Path(path.clone()),
            (None, file) => {
                let of_file = file.as_ref().map(|file| files.and_then(|files| files.get(file)).map_or("", Secret::reveal));
                let text = of_file.or(written.body.as_deref()).unwrap_or_default().to_owned();
                Content::Text { text, kind: written.kind().into_owned() }
            }
        };
        Self { content, intercept: written.intercept }
    }
}

/// An error with this text in the place of what it said.
pub(super) fn with_text(mut response: Response, text: &str, kind: &str, id: Option<RequestId>) -> Response {
    let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let known = [("{status}", &*response.status.to_string()), ("{reason}", status::reason(response.status)), ("{id}", &id)];
    let mut body = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        body.push_str(&rest[..at]);
        rest = &rest[at..];
        // Other braces are the page's own.
        let (name, value) = known.into_iter().find(|(name, _)| rest.starts_with(name)).unwrap_or(("{", "{"));
        body.push_str(value);
        rest = &rest[name.len()..];
    }
    body.push_str(rest);
    response.map_fields(|name, value| (!is_among(&OF_THE_BODY, name)).then_some(Cow::Borrowed(value)));
    // Checked with the configuration.
    let _ = response.fields.push("Content-Type", kind);
    response.body = body.into_bytes().into();
    response.plain = false;
    response
}

/// An error with the page that a path answered with; without it when that failed.
pub(super) fn with_page(mut response: Response, mut page: Response) -> Response {
    let whole = (200..300).contains(&page.status) && !matches!(page.status, 204..=206);
    if !whole {
        return response;
    }
    response.map_fields(|name, value| (!is_among(&OF_THE_BODY, name)).then_some(Cow::Borrowed(value)));
    for (name, value) in page.all_fields().filter(|(name, _)| is_among(&OF_THE_PAGE, name)) {
        // It could be sent with the page.
        let _ = response.fields.push(name, value);
    }
    response.body = std::mem::take(&mut page.body);
    response.held.append(&mut page.held);
    response.plain = false;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(statuses: &[&str], body: &str, intercept: bool) -> ErrorPage {
        let status = statuses.iter().map(|statuses| statuses.parse().unwrap()).collect();
        ErrorPage { status, body: Some(body.to_owned()), intercept, ..ErrorPage::default() }
    }

    fn shown(pages: &Pages, response: Response) -> String {
        let ResponseBody::Bytes(bytes) = pages.at_once(response).body else { panic!("a body in memory") };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    use crate::request::ResponseBody;

    #[test]
    fn the_closest_page_wins() {
        let server = [page(&["4xx"], "class", false), page(&["404"], "one", false), page(&["404", "5xx"], "late", false)];
        let route = [page(&["403-404"], "route", true)];
        let pages = Pages::new(&server, &route, None).unwrap();
        let of = |status| shown(&pages, Response::error(status, "plain"));
        assert_eq!([400, 403, 404, 500].map(of), ["class", "route", "route", "late"]);
        let pages = Pages::new(&server, &[], None).unwrap();
        let of = |status| shown(&pages, Response::error(status, "plain"));
        assert_eq!([400, 404, 599].map(of), ["class", "one", "late"]);
        assert!(Pages::new(&[], &[], None).is_none());
    }

    #[test]
    fn answers_of_applications_are_replaced_where_that_is_asked_for() {
        let pages = Pages::new(&[page(&["404"], "a", false), page(&["500"], "b", true)], &[], None).unwrap();
        let app = |status| shown(&pages, Response::text(status, "own"));
        assert_eq!([404, 500, 200].map(app), ["own", "b", "own"]);
    }

    #[test]
    fn what_stands_for_something_is_filled_in() {
        let mut response = Response::error(404, "");
        response.fields.push_static("Retry-After", "5");
        response.fields.push_static("ETag", "\"x\"");
        let filled = with_text(response, "b{color:red}{status} {reason} {id}{", "text/html", Some(RequestId(10)));
        assert_eq!(filled.fields.block(), b"Retry-After: 5\r\nContent-Type: text/html\r\n");
        let ResponseBody::Bytes(body) = filled.body else { panic!("a body in memory") };
        assert_eq!(&body[..], b"b{color:red}404 Not Found 00000000000a{");
    }
}
