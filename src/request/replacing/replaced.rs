//! What stands in front of a route in whose answers strings are replaced.

use std::borrow::Cow;
use std::rc::Rc;

use super::Replace;
use super::replacer::{Replacer, Strings};
use super::stream::{of_bytes, of_file, of_stream};
use crate::codec::http::fields::list_items;
use crate::codec::http::{Method, status};
use crate::request::{Answer, Body, BodyStream, Handler, Request, Response, ResponseBody};
use crate::websocket::Sessions;

/// A body in memory up to this size is looked at in one go, so that its length can be told.
const AT_ONCE: usize = 64 << 10;

/// Fields that speak of the bytes as they were. When the strings of the configuration change, so does what was modified last.
const OF_THE_BYTES: [&str; 6] = ["accept-ranges", "content-md5", "digest", "content-digest", "repr-digest", "last-modified"];

/// A handler that replaces strings in what another answers.
pub(crate) struct Replaced {
    work: Rc<Work>,
    beyond: Rc<dyn Handler>,
}

/// What is done with each answer.
struct Work {
    config: Replace,
    strings: Rc<Strings>,
}

impl Replaced {
    pub(crate) fn new(config: Replace, beyond: Rc<dyn Handler>) -> Self {
        let strings = Rc::new(Strings::new(&config.strings, config.ignore_case));
        Self { work: Rc::new(Work { config, strings }), beyond }
    }
}

impl Handler for Replaced {
    fn request(self: Rc<Self>, mut request: Request) -> Answer {
        let head_only = request.head.method == Method::Head;
        // What is compressed could not be read. How the client likes it best is for who compresses behind this.
        request.head.fields.remove("accept-encoding");
        // A part of what was is no part of what will be. It is needed only where strings are replaced, so the whole is asked for when it turns out to be so.
        let whole = request.head.fields.contains("range").then(|| whole_of(&request));
        let (work, beyond) = (self.work.clone(), self.beyond.clone());
        match (beyond.clone().request(request), whole) {
            (Answer::Now(response), None) => Answer::Now(work.replace(response, head_only)),
            (Answer::Later(response), None) => Answer::Later(Box::pin(async move { work.replace(response.await, head_only) })),
            (answer, Some(whole)) => Answer::Later(Box::pin(async move {
                let mut response = of(answer).await;
                if response.status == 206 && work.has_type(&response) {
                    drop(response);
                    response = of(beyond.request(whole)).await;
                }
                work.replace(response, head_only)
            })),
        }
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        self.beyond.clone().websocket(request, sessions)
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }
}

async fn of(answer: Answer) -> Response {
    match answer {
        Answer::Now(response) => response,
        Answer::Later(response) => response.await,
    }
}

/// The same request for the whole. Only GET has ranges, which has no body.
fn whole_of(request: &Request) -> Request {
    let mut head = request.head.clone();
    for name in ["range", "if-range"] {
        head.fields.remove(name);
    }
    Request {
        id: request.id,
        head,
        body: Body::empty(),
        origin: request.origin.clone(),
        base_length: request.base_length,
        uploads: request.uploads.clone(),
        onward: request.onward.clone(),
        user: request.user.clone(),
    }
}

impl Work {
    fn has_type(&self, response: &Response) -> bool {
        response.has_type(&self.config.types)
    }

    fn replace(&self, mut response: Response, head_only: bool) -> Response {
        if !self.config.fields.is_empty() && response.status != 101 {
            self.replace_in_fields(&mut response);
        }
        if response.status == 304 {
            describe(&mut response);
            return response;
        }
        let transformable = || {
            let says_no = |value| list_items(value).any(|item| item.eq_ignore_ascii_case(b"no-transform"));
            !response.field("cache-control").is_some_and(says_no)
        };
        let bodiless = status::is_bodiless(response.status) || matches!(response.status, 101 | 205 | 206);
        let encoded = response.field("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        if bodiless || encoded || !self.has_type(&response) || !transformable() {
            return response;
        }
        let body = match std::mem::take(&mut response.body) {
            ResponseBody::Bytes(bytes) if bytes.len() <= AT_ONCE => {
                // With HEAD there may be a length and no bytes of it; ours are the bytes themselves, which the transport leaves out.
                Ok(ResponseBody::Bytes(Replacer::whole(&self.strings, self.config.once, &bytes).into()))
            }
            // How long it becomes only who sends it knows.
            ResponseBody::Bytes(_) | ResponseBody::File(_) | ResponseBody::Stream(_) | ResponseBody::Measured(..) | ResponseBody::Empty
                if head_only =>
            {
                Ok(ResponseBody::Stream(Box::pin(futures_lite::stream::empty()) as BodyStream))
            }
            ResponseBody::Bytes(bytes) => Ok(ResponseBody::Stream(of_bytes(bytes, self.strings.clone(), self.config.once))),
            ResponseBody::File(range) => of_file(&range, self.strings.clone(), self.config.once).map(ResponseBody::Stream),
            ResponseBody::Stream(source) | ResponseBody::Measured(source, _) => {
                Ok(ResponseBody::Stream(of_stream(source, self.strings.clone(), self.config.once)))
            }
            other @ (ResponseBody::Empty | ResponseBody::Parts(_) | ResponseBody::Upgrade(_)) => {
                response.body = other;
                return response;
            }
        };
        match body {
            Ok(body) => {
                describe(&mut response);
                response.body = body;
                response
            }
            Err(error) => {
                crate::log_error!("an answer could not be read to replace strings in it: {error}");
                Response::error(500, "")
            }
        }
    }

    fn replace_in_fields(&self, response: &mut Response) {
        let (names, strings) = (&self.config.fields, &self.strings);
        response.map_fields(|name, value| {
            if !names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes())) {
                return Some(Cow::Borrowed(value));
            }
            Some(Cow::Owned(Replacer::whole(strings, false, value)))
        });
    }
}

/// Takes away what is said of the bytes as they were. A strong tag is of them: it becomes a weak one (RFC 9110 §8.8.1).
fn describe(response: &mut Response) {
    response.map_fields(|name, value| {
        if OF_THE_BYTES.iter().any(|of| name.eq_ignore_ascii_case(of.as_bytes())) {
            None
        } else if name.eq_ignore_ascii_case(b"etag") && !value.starts_with(b"W/") {
            Some([b"W/", value].concat().into())
        } else {
            Some(Cow::Borrowed(value))
        }
    });
}
