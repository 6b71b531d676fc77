//! The answer of a server as the client gets it: without what belongs to the server's connection, its body as it comes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use event_listener::EventListener;
use futures_lite::stream::{self, Stream};
use smallvec::SmallVec;

use super::app::ReverseProxy;
use super::fault::Fault;
use super::upstream::{Line, Place};
use crate::clients::http::Incoming;
use crate::codec::http::fields::list_items;
use crate::codec::http::{Method, ResponseHead, status};
use crate::reactor::Alarm;
use crate::request::{Request, Response, ResponseBody, ResponseFields};

/// An answer that has begun, with what it takes up.
pub(super) struct Begun {
    pub(super) head: ResponseHead,
    pub(super) incoming: Incoming,
    pub(super) born: Instant,
    pub(super) place: Place,
}

/// Fields that belong to the server's connection, or that we write ourselves.
fn stays(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "date"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "server"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Makes the client's answer of a server's.
///
/// # Errors
/// [`Fault::Nonsense`].
pub(super) fn pass(proxy: &Rc<ReverseProxy>, request: &Request, begun: Begun) -> Result<Response, Fault> {
    let mut response = Response::new(begun.head.status, ResponseBody::Empty);
    response.fields = fields(proxy, request, &begun)?;
    let Begun { head, mut incoming, born, place } = begun;
    if request.head.method == Method::Head || status::is_bodiless(head.status) {
        let length = head.fields.get_str("content-length").and_then(|length| length.parse().ok());
        let has_framing = head.fields.contains("transfer-encoding") || length.is_some_and(|length: u64| length > 0);
        // The length of a body that is not there (RFC 9110 §8.6).
        response.body = match length {
            _ if status::is_bodiless(head.status) => ResponseBody::Empty,
            Some(length) => ResponseBody::Measured(Box::pin(stream::empty()), length),
            None => ResponseBody::Stream(Box::pin(stream::empty())),
        };
        // A server that announces a body where none can be may send it all the same.
        if !(has_framing && head.status == 204) && incoming.is_sent() {
            give_back(proxy, &place, incoming, born);
        }
        return Ok(response);
    }
    if incoming.is_sent()
        && let Some(whole) = incoming.take_whole()
    {
        response.body = ResponseBody::Bytes(whole);
        give_back(proxy, &place, incoming, born);
        return Ok(response);
    }
    let is_events = head.fields.get("content-type").is_some_and(|kind| kind.starts_with(b"text/event-stream"));
    let length = incoming.length();
    let limit = if is_events { proxy.timeouts.tunnel.get() } else { proxy.timeouts.between.get() };
    let passage = Passage {
        state: Some((incoming, place)),
        born,
        proxy: proxy.clone(),
        alarm: Alarm::new(),
        limit,
        moved: 0,
        // A body whose length is announced cannot end before.
        ends: (is_events && length.is_none()).then(|| proxy.draining.listen()),
    };
    response.body = match length {
        Some(length) => ResponseBody::Measured(Box::pin(passage), length),
        None => ResponseBody::Stream(Box::pin(passage)),
    };
    Ok(response)
}

/// The client's answer where the server names a file in the place of its own body.
///
/// # Errors
/// [`Fault::Nonsense`].
pub(super) async fn send_file(proxy: &Rc<ReverseProxy>, request: &Request, begun: Begun) -> Result<Response, Fault> {
    let mut named = Response::new(begun.head.status, ResponseBody::Empty);
    named.fields = fields(proxy, request, &begun)?;
    let Begun { head, mut incoming, born, place } = begun;
    if incoming.is_sent() && (request.head.method == Method::Head || status::is_bodiless(head.status) || incoming.take_whole().is_some()) {
        give_back(proxy, &place, incoming, born);
    }
    let log = |why: &str| {
        crate::log_error!(request = &request.id.to_string(), app = proxy.name(); "upstream {}: {why}", place.upstream.name);
    };
    Ok(proxy.sent.follow(named, &request.head, log).await)
}

/// The fields for the client.
///
/// # Errors
/// A field that cannot be sent.
pub(super) fn fields(proxy: &ReverseProxy, request: &Request, begun: &Begun) -> Result<ResponseFields, Fault> {
    let from = &begun.head.fields;
    if begun.head.status > 599 {
        return Err(Fault::Nonsense(format!("the status {} is none", begun.head.status)));
    }
    let mut fields = ResponseFields::with_capacity(256);
    let named: SmallVec<[&[u8]; 4]> = from.get_all("connection").flat_map(list_items).collect();
    for (name, value) in from.iter() {
        if stays(name) || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes())) {
            continue;
        }
        let rewritten = match name {
            "location" if proxy.redirects => ours(proxy, request, begun, value),
            _ => None,
        };
        let value = rewritten.as_deref().map_or(value, str::as_bytes);
        fields.push(name, value).map_err(|error| Fault::Nonsense(format!("the header {name}: {error}")))?;
    }
    Ok(fields)
}

/// A location of the server's own, as a path of ours.
fn ours(proxy: &ReverseProxy, request: &Request, begun: &Begun, location: &[u8]) -> Option<String> {
    let location = std::str::from_utf8(location).ok()?;
    let upstream = &begun.place.upstream;
    let path = match location.split_once("://") {
        Some((_, rest)) => {
            let (host, _) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            if !host.eq_ignore_ascii_case(&upstream.authority) {
                return None;
            }
            &rest[host.len()..]
        }
        None if location.starts_with('/') && !location.starts_with("//") => location,
        None => return None,
    };
    let path = path.strip_prefix(upstream.prefix()).unwrap_or(path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let base = if proxy.forwarding.strip { request.base() } else { "" };
    Some(format!("{base}{slash}{path}"))
}

/// Keeps the connection of an answer that is over.
fn give_back(proxy: &ReverseProxy, place: &Place, incoming: Incoming, born: Instant) {
    if let Some(connection) = incoming.into_kept().filter(|_| proxy.keeps()) {
        place.upstream.keep(Line { connection, born });
    }
}

/// The body of an answer as it comes.
struct Passage {
    /// `None` when it is over.
    state: Option<(Incoming, Place)>,
    born: Instant,
    proxy: Rc<ReverseProxy>,
    alarm: Alarm,
    /// How long nothing may come.
    limit: Duration,
    /// What had gone either way when that was looked at last.
    moved: u64,
    /// Tells when a stream of events ends because the proxy does.
    ends: Option<EventListener>,
}

impl Passage {
    fn fail(&mut self, fault: Fault) -> Poll<Option<io::Result<Bytes>>> {
        if let Some((_, place)) = self.state.take()
            && fault.is_of_server()
        {
            self.proxy.failed(&place.upstream, &format!("in the middle of an answer: {}", fault.why()));
        }
        Poll::Ready(Some(Err(io::Error::other(fault.why()))))
    }

    fn end(&mut self) -> Poll<Option<io::Result<Bytes>>> {
        if let Some((incoming, place)) = self.state.take()
            && incoming.is_sent()
        {
            give_back(&self.proxy, &place, incoming, self.born);
        }
        Poll::Ready(None)
    }
}

impl Stream for Passage {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let passage = &mut *self;
        let Some((incoming, _)) = &mut passage.state else { return Poll::Ready(None) };
        match incoming.poll_next(cx) {
            Poll::Ready(Ok(Some(piece))) => {
                passage.alarm.clear();
                return Poll::Ready(Some(Ok(piece)));
            }
            Poll::Ready(Ok(None)) => return passage.end(),
            Poll::Ready(Err(failed)) => return passage.fail(Fault::of(failed)),
            Poll::Pending => {}
        }
        let moved = incoming.moved();
        if !passage.alarm.is_set() || passage.moved != moved {
            passage.moved = moved;
            passage.alarm.set(passage.limit);
        }
        if let Some(ends) = &mut passage.ends
            && (passage.proxy.draining.has_begun() || Pin::new(ends).poll(cx).is_ready())
        {
            // The client reconnects, and is served by who stays.
            passage.state = None;
            return Poll::Ready(None);
        }
        match passage.alarm.poll(cx) {
            Poll::Ready(()) => passage.fail(Fault::Slow("nothing came in time".to_owned())),
            Poll::Pending => Poll::Pending,
        }
    }
}
