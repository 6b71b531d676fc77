//! WebSocket connections that pass through: bytes both ways, as fast as each side takes them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::answer::{self, Begun};
use super::app::ReverseProxy;
use super::draining::Tunnel;
use super::fault::Fault;
use super::upstream::Place;
use crate::codec::websocket::close::Close;
use crate::codec::websocket::frame::{Head, encode};
use crate::codec::websocket::handshake::Refusal;
use crate::codec::websocket::{Boundary, Opcode, handshake};
use crate::net::Stream;
use crate::reactor::{Alarm, yield_now};
use crate::request::{Request, Response, ResponseBody, Upgraded};
use crate::websocket::Sessions;

/// What is read at once and must be taken by the other side before more is read.
const PIECE: usize = 64 << 10;
/// How long the end may take, once it has begun.
const ENDING: Duration = Duration::from_secs(5);
/// The worker goes (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers 101, and passes on what comes behind it.
///
/// # Errors
/// [`Fault::Nonsense`]: the server has not agreed to what it was asked for (RFC 6455 §4.1).
pub(super) fn open(proxy: &Rc<ReverseProxy>, request: &Request, begun: Begun, sessions: Option<Rc<Sessions>>) -> Result<Response, Fault> {
    let agreed = begun.head.fields.contains_token("upgrade", "websocket")
        && begun.head.fields.get_str("sec-websocket-accept") == Some(handshake::accept(handshake::key(&request.head)).as_str());
    let Some(sessions) = sessions.filter(|_| agreed) else {
        // Whether the server has answered a key that is none cannot be told, and by one a client must not get a server left alone.
        if !handshake::has_key(&request.head) {
            return Ok(Response::error(400, &Refusal::Key.to_string()));
        }
        let fault = Fault::Nonsense("it has switched to another protocol than WebSocket".to_owned());
        proxy.failed(&begun.place.upstream, &fault.why());
        return Err(fault);
    };
    let mut response = Response::new(101, ResponseBody::Empty);
    response.fields = answer::fields(proxy, request, &begun)?;
    response.fields.push_static("Upgrade", "websocket");
    let (upstream, early, _) = begun.incoming.into_connection().into_parts();
    let passing = Passing {
        upstream,
        from_upstream: early.to_vec(),
        idle: proxy.timeouts.tunnel.get(),
        spread: sessions.settings().drain_spread,
        tunnel: proxy.draining.enter(),
        _place: begun.place,
    };
    response.body = ResponseBody::Upgrade(Box::new(|upgraded| Box::pin(passing.run(upgraded))));
    Ok(response)
}

/// A connection that is about to pass through.
struct Passing {
    upstream: Rc<Stream>,
    /// What the server has sent already.
    from_upstream: Vec<u8>,
    /// How long nothing may go either way.
    idle: Duration,
    /// Over which time connections end when the proxy does.
    spread: Duration,
    tunnel: Tunnel,
    _place: Place,
}

/// How far the end has come.
#[derive(Default)]
struct Ending {
    /// The client is to be told that the worker goes.
    leaves: Cell<bool>,
    /// It was told, or one side has closed: the rest is bounded in time.
    begun: Cell<bool>,
}

impl Passing {
    async fn run(self, upgraded: Upgraded) {
        let Upgraded { stream: client, early, place } = upgraded;
        let ending = Ending::default();
        let bare = &ending;
        let mut up = pin!(carry(&client, &self.upstream, early, bare));
        let mut down = pin!(carry_down(&self.upstream, &client, self.from_upstream, bare));
        let mut turn = pin!(self.tunnel.turn(self.spread));
        let (mut up_ended, mut down_ended) = (false, false);
        let alarm = Alarm::new();
        let mut seen = (u64::MAX, false);
        poll_fn(|cx| {
            if !bare.leaves.get() && turn.as_mut().poll(cx).is_ready() {
                bare.leaves.set(true);
            }
            down_ended = down_ended || down.as_mut().poll(cx).is_ready();
            up_ended = up_ended || up.as_mut().poll(cx).is_ready();
            if down_ended {
                // The server's last word is with the client.
                return Poll::Ready(());
            }
            let moved = client.moved() + self.upstream.moved();
            let begun = bare.begun.get();
            if seen != (moved, begun) {
                // What still moves does not put the end off.
                if !begun || !seen.1 {
                    alarm.set(if begun { ENDING } else { self.idle });
                }
                seen = (moved, begun);
            }
            alarm.poll(cx)
        })
        .await;
        drop(place);
    }
}

/// Passes bytes on until `from` ends; then `to` is told that nothing more comes. Errors end it: the other direction notices by itself.
async fn carry(from: &Stream, to: &Stream, early: Vec<u8>, ending: &Ending) {
    let mut piece = early;
    loop {
        if to.write_all(&piece).await.is_err() {
            break;
        }
        match read(from, None, piece).await {
            Ok(next) if !next.is_empty() => piece = next,
            _ => break,
        }
        yield_now().await;
    }
    ending.begun.set(true);
    // A side that is gone needs no word.
    let _gone = to.shutdown_write().await;
}

/// The same from the server to the client, which is told between two frames when the worker goes. Its answer reaches the server, which then closes.
async fn carry_down(from: &Stream, to: &Stream, early: Vec<u8>, ending: &Ending) {
    let mut boundary = Boundary::default();
    let mut told = false;
    let mut piece = early;
    loop {
        if !told {
            let cut = if ending.leaves.get() { boundary.advance_to_boundary(&piece) } else { boundary.advance(&piece) };
            if to.write_all(&piece[..cut]).await.is_err() {
                break;
            }
        }
        if ending.leaves.get() && !told && boundary.is_between() {
            told = true;
            ending.begun.set(true);
            let close = Close::new(GOING_AWAY, "the server restarts").payload();
            if to.write_all(&encode(Head::whole(Opcode::Close), &close, None)).await.is_err() {
                break;
            }
        }
        let wake = (!told && boundary.is_between()).then_some(&ending.leaves);
        match read(from, wake, piece).await {
            Ok(next) if !next.is_empty() => piece = next,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => piece = Vec::new(),
            _ => break,
        }
        yield_now().await;
    }
    ending.begun.set(true);
    let _gone = to.shutdown_write().await;
}

/// Reads a piece; an empty one is the end. While nothing comes no buffer is held. `Interrupted` when `wake` is set meanwhile.
async fn read(from: &Stream, wake: Option<&Cell<bool>>, mut piece: Vec<u8>) -> io::Result<Vec<u8>> {
    piece.clear();
    if piece.capacity() > 4096 {
        piece = Vec::new();
    }
    poll_fn(|cx| {
        if wake.is_some_and(Cell::get) {
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(PIECE, 0);
            from.poll_read(cx, scratch).map_ok(|read| piece.extend_from_slice(&scratch[..read]))
        })
    })
    .await?;
    Ok(piece)
}
