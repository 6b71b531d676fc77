//! What stands in front of routes whose answers are compressed.

use std::borrow::Cow;
use std::io;
use std::rc::Rc;

use super::encoder::Encoder;
use super::stream::{of_bytes, of_file, of_stream};
use super::{Coding, Compression};
use crate::codec::http::fields::list_items;
use crate::codec::http::{Method, RequestHead, accept, status};
use crate::request::{Answer, Handler, Request, Response, ResponseBody};
use crate::websocket::Sessions;

/// Fields that speak of the bytes as they were before.
const OF_THE_BYTES: [&str; 5] = ["accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"];

/// A handler that compresses what another answers.
pub(crate) struct Compressor {
    config: Rc<Compression>,
    beyond: Rc<dyn Handler>,
}

/// What a client takes.
#[derive(Clone, Copy)]
struct Wish {
    coding: Option<Coding>,
    /// It takes nothing that is not compressed.
    pressing: bool,
    head_only: bool,
}

impl Compressor {
    pub(crate) fn new(config: Rc<Compression>, beyond: Rc<dyn Handler>) -> Self {
        Self { config, beyond }
    }

    fn wish(&self, head: &RequestHead) -> Wish {
        let coding = Coding::choose(&head.fields, &self.config.codings);
        Wish { coding, pressing: coding.is_some() && accept::refuses_identity(&head.fields), head_only: head.method == Method::Head }
    }
}

impl Handler for Compressor {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        let (config, wish) = (self.config.clone(), self.wish(&request.head));
        match self.beyond.clone().request(request) {
            Answer::Now(response) => Answer::Now(compressed(response, wish, &config)),
            Answer::Later(response) => Answer::Later(Box::pin(async move { compressed(response.await, wish, &config) })),
        }
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        // Nearly always it becomes a WebSocket, which has a compression of its own.
        self.beyond.clone().websocket(request, sessions)
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }
}

/// The response as the client takes it best.
fn compressed(mut response: Response, wish: Wish, config: &Compression) -> Response {
    if response.status == 304 {
        vary(&mut response);
        return response;
    }
    let bodiless = status::is_bodiless(response.status) || matches!(response.status, 205 | 206);
    let other = matches!(response.body, ResponseBody::Empty | ResponseBody::Parts(_) | ResponseBody::Upgrade(_));
    if bodiless || other || response.field("content-encoding").is_some() || response.field("content-range").is_some() {
        return response;
    }
    let is_long = response.body.length().is_none_or(|length| length >= *config.min_length);
    let is_wanted = wish.pressing || (is_long && response.has_type(&config.types));
    if !is_wanted {
        return response;
    }
    if response.field("cache-control").is_some_and(|value| list_items(value).any(|item| item.eq_ignore_ascii_case(b"no-transform"))) {
        return response;
    }
    vary(&mut response);
    let Some(coding) = wish.coding.filter(|_| !wish.head_only) else { return response };
    let body = std::mem::take(&mut response.body);
    match encode(body, coding, wish.pressing, config) {
        Ok(Encoded::As(body)) => {
            describe(&mut response, coding);
            response.body = body;
            response
        }
        Ok(Encoded::Longer(body)) => {
            response.body = body;
            response
        }
        Err(error) => {
            crate::log_error!("an answer could not be compressed: {error}");
            Response::error(500, "")
        }
    }
}

enum Encoded {
    As(ResponseBody),
    /// It would not be shorter; this is what it was.
    Longer(ResponseBody),
}

fn encode(body: ResponseBody, coding: Coding, pressing: bool, config: &Compression) -> io::Result<Encoded> {
    let mut encoder = Encoder::new(coding, config)?;
    Ok(Encoded::As(match body {
        ResponseBody::Bytes(bytes) if bytes.len() <= encoder.at_once() => {
            let mut out = encoder.write(&bytes)?;
            out.extend(encoder.finish()?);
            if out.len() >= bytes.len() && !pressing {
                return Ok(Encoded::Longer(ResponseBody::Bytes(bytes)));
            }
            ResponseBody::Bytes(out.into())
        }
        ResponseBody::Bytes(bytes) => ResponseBody::Stream(of_bytes(bytes, encoder)),
        ResponseBody::File(range) => ResponseBody::Stream(of_file(&range, encoder)?),
        ResponseBody::Stream(source) | ResponseBody::Measured(source, _) => ResponseBody::Stream(of_stream(source, encoder)),
        other @ (ResponseBody::Empty | ResponseBody::Parts(_) | ResponseBody::Upgrade(_)) => return Ok(Encoded::Longer(other)),
    }))
}

/// Says that the answer depends on what the client takes (RFC 9110 §12.5.5).
fn vary(response: &mut Response) {
    let mut said = false;
    response.map_fields(|name, value| {
        let asked = |item: &[u8]| item == b"*" || item.eq_ignore_ascii_case(b"accept-encoding");
        said |= name.eq_ignore_ascii_case(b"vary") && list_items(value).any(asked);
        Some(Cow::Borrowed(value))
    });
    if !said {
        response.fields.push_static("Vary", "Accept-Encoding");
    }
}

/// Says how the body is compressed. A strong tag is of the bytes as they were: it becomes a weak one (RFC 9110 §8.8.1).
fn describe(response: &mut Response, coding: Coding) {
    response.map_fields(|name, value| {
        if OF_THE_BYTES.iter().any(|of| name.eq_ignore_ascii_case(of.as_bytes())) {
            None
        } else if name.eq_ignore_ascii_case(b"etag") && !value.starts_with(b"W/") {
            Some([b"W/", value].concat().into())
        } else {
            Some(Cow::Borrowed(value))
        }
    });
    response.fields.push_static("Content-Encoding", coding.name());
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use bytes::Bytes;
    use futures_lite::{StreamExt, stream};

    use super::super::encoder::tests::{begun, decoded};
    use super::*;
    use crate::codec::http::Version;

    fn wish(accept: &str, method: Method) -> Wish {
        let mut head = RequestHead::new(method, "/", Version::Http11).unwrap();
        head.fields.push("accept-encoding", accept).unwrap();
        let config = Compression::default();
        let coding = Coding::choose(&head.fields, &config.codings);
        Wish { coding, pressing: coding.is_some() && accept::refuses_identity(&head.fields), head_only: head.method == Method::Head }
    }

    fn text(length: usize) -> Response {
        let mut response = Response::text(200, "abcd ".repeat(length / 5));
        response.fields.push_static("ETag", "\"x\"");
        response.fields.push_static("Accept-Ranges", "bytes");
        response
    }

    /// The coding that a response has, after the test that it is told.
    fn coding(response: &Response) -> String {
        String::from_utf8(response.field("content-encoding").unwrap_or(b"none").to_vec()).unwrap()
    }

    #[test]
    fn the_client_decides() {
        for (accept, expected) in [
            ("gzip", "gzip"),
            ("gzip, deflate, br", "br"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("br;q=0.5, gzip;q=0.8", "gzip"),
            ("gzip;q=0, br;q=0, zstd;q=0", "none"),
            ("gzip;q=0.2, identity", "none"),
            ("*", "zstd"),
            ("identity", "none"),
            ("", "none"),
        ] {
            let response = compressed(text(5000), wish(accept, Method::Get), &Compression::default());
            assert_eq!(coding(&response), expected, "{accept:?}");
            assert_eq!(response.field("vary"), Some(&b"Accept-Encoding"[..]), "{accept:?}");
            let tag: &[u8] = if expected == "none" { b"\"x\"" } else { b"W/\"x\"" };
            assert_eq!(response.field("etag"), Some(tag), "{accept:?}");
            assert_eq!(response.field("accept-ranges").is_some(), expected == "none", "{accept:?}");
        }
    }

    #[test]
    fn what_must_stay_as_it_is_does() {
        let stays = |change: &dyn Fn(&mut Response), accept: &str, method: Method| {
            let mut response = text(5000);
            change(&mut response);
            let before = response.body.length();
            let response = compressed(response, wish(accept, method), &Compression::default());
            assert_eq!(response.body.length(), before);
            response
        };
        assert!(stays(&|_| (), "gzip", Method::Head).field("vary").is_some());
        stays(&|response| response.status = 206, "gzip", Method::Get);
        stays(&|response| response.fields.push_static("Content-Encoding", "br"), "gzip", Method::Get);
        stays(&|response| response.fields.push_static("Cache-Control", "public, no-transform"), "gzip", Method::Get);
        stays(&|response| response.body = vec![b'a'; 1023].into(), "gzip", Method::Get);
        stays(&|response| response.body = ResponseBody::Empty, "gzip", Method::Get);
        stays(&|response| *response = Response { body: std::mem::take(&mut response.body), ..Response::new(200, "") }, "gzip", Method::Get);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        let random: Vec<u8> = (0..2000).map(|_| noise()).collect();
        let kept = stays(&|response| response.body = random.clone().into(), "gzip", Method::Get);
        assert_eq!(coding(&kept), "none");
    }

    #[test]
    fn a_client_that_takes_nothing_else_gets_a_short_answer_compressed() {
        let response = compressed(Response::text(200, "hi"), wish("gzip, identity;q=0", Method::Get), &Compression::default());
        assert_eq!(coding(&response), "gzip");
    }

    #[test]
    fn vary_is_said_once() {
        for (said, expected) in [("Accept-Encoding, Cookie", 1), ("Cookie", 2), ("*", 1)] {
            let mut response = text(5000);
            response.fields.push("Vary", said).unwrap();
            let response = compressed(response, wish("gzip", Method::Get), &Compression::default());
            assert_eq!(response.fields.iter().filter(|(name, _)| *name == b"Vary").count(), expected, "{said}");
        }
    }

    #[test]
    fn large_answers_come_whole_and_streams_at_once() {
        crate::reactor::run(async {
            for accept in ["gzip", "br", "zstd"] {
                let wish = wish(accept, Method::Get);
                let large = "0123456789".repeat(100_000);
                let response = compressed(Response::text(200, large.clone()), wish, &Compression::default());
                assert_eq!(whole(response, wish).await, large.as_bytes());
                let file = tempfile::tempfile().unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, large.as_bytes(), 0).unwrap();
                let range = crate::request::FileRange { file: Rc::new(file), offset: 5, length: 900_000 };
                let response = compressed(Response { body: ResponseBody::File(range), ..text(0) }, wish, &Compression::default());
                assert_eq!(whole(response, wish).await, &large.as_bytes()[5..900_005]);
                // A piece, and then nothing more for ever: it must come all the same.
                let mut pieces = vec![Bytes::from_static(b"data: one\n\n")].into_iter();
                let waiting = stream::poll_fn(move |_| pieces.next().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece)))));
                let response =
                    compressed(Response { body: ResponseBody::Stream(Box::pin(waiting)), ..text(0) }, wish, &Compression::default());
                let ResponseBody::Stream(mut body) = response.body else { panic!("a stream stays one") };
                let mut seen = Vec::new();
                while begun(wish.coding.unwrap(), &seen) != b"data: one\n\n" {
                    seen.extend(body.next().await.expect("more").unwrap());
                }
            }
        })
        .unwrap();
    }

    async fn whole(response: Response, wish: Wish) -> Vec<u8> {
        assert!(response.body.length().is_none());
        let ResponseBody::Stream(mut body) = response.body else { panic!("a large answer is a stream") };
        let mut all = Vec::new();
        while let Some(piece) = body.next().await {
            all.extend(piece.unwrap());
        }
        decoded(wish.coding.unwrap(), &all)
    }
}
