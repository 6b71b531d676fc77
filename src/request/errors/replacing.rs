//! What stands in front of a route whose errors have pages.

use std::rc::Rc;

use super::pages::{Content, Pages, with_page, with_text};
use crate::codec::http::Method;
use crate::request::{Answer, Body, Handler, Request, RequestId, Response};
use crate::websocket::Sessions;

/// A handler that puts pages in the place of another's errors.
pub(crate) struct ErrorPages {
    pages: Rc<Pages>,
    /// Whether any page is answered by a path, so that the request must be kept.
    has_paths: bool,
    beyond: Rc<dyn Handler>,
}

/// Fields of a request that ask for something else than the whole of a page.
const CONDITIONS: [&str; 6] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

impl ErrorPages {
    pub(crate) fn new(pages: Rc<Pages>, beyond: Rc<dyn Handler>) -> Self {
        let has_paths = pages.has_paths();
        Self { pages, has_paths, beyond }
    }

    fn pass(&self, request: Request, go: impl FnOnce(Rc<dyn Handler>, Request) -> Answer) -> Answer {
        // An error of a page is no reason for another.
        if request.onward.is_for_error() {
            return go(self.beyond.clone(), request);
        }
        let (pages, id) = (self.pages.clone(), request.id);
        let again = self.has_paths.then(|| for_page(&request));
        match go(self.beyond.clone(), request) {
            Answer::Now(response) => replaced(&pages, response, id, again),
            Answer::Later(response) => Answer::Later(Box::pin(async move {
                match replaced(&pages, response.await, id, again) {
                    Answer::Now(response) => response,
                    Answer::Later(response) => response.await,
                }
            })),
        }
    }
}

/// What is known of a request when the page is asked for.
fn for_page(request: &Request) -> Request {
    let mut head = request.head.clone();
    for name in CONDITIONS {
        head.fields.remove(name);
    }
    if head.method != Method::Head {
        head.method = Method::Get;
    }
    Request {
        id: request.id,
        head,
        body: Body::empty(),
        origin: request.origin.clone(),
        base_length: request.base_length,
        uploads: request.uploads.clone(),
        onward: request.onward.for_error(),
        user: request.user.clone(),
    }
}

fn replaced(pages: &Pages, response: Response, id: RequestId, again: Option<Request>) -> Answer {
    let Some(page) = pages.page(&response).cloned() else { return Answer::Now(response) };
    match (&page.content, again) {
        (Content::Text { text, kind }, _) => Answer::Now(with_text(response, text, kind, Some(id))),
        (Content::Path(path), Some(request)) => {
            let path = path.clone();
            Answer::Later(Box::pin(async move {
                let page = request.onward.send(&request, &path).await;
                if page.status >= 300 {
                    crate::log_warn!(request = &id.to_string(); "the page for {} at {path} was answered with {}", response.status, page.status);
                }
                with_page(response, page)
            }))
        }
        (Content::Path(_), None) => Answer::Now(response),
    }
}

impl Handler for ErrorPages {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        self.pass(request, Handler::request)
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        self.pass(request, |beyond, request| beyond.websocket(request, sessions))
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }
}
