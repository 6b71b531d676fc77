//! One HTTP/2 connection: its streams, its idle time, how it ends.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};

use super::exchange::Running;
use super::transport::{Moved, Transport};
use crate::log_debug;
use crate::reactor::{Alarm, Scope, timeout};
use crate::request::{Origin, Takeover, Upgraded};
use crate::scoreboard::add;
use crate::servers::http::HttpServer;
use crate::servers::http::connection::CROWDED;
use crate::servers::limits::Http2;
use crate::servers::live::Live;

/// Streams taken in one turn, before others have theirs.
const STREAMS_A_TURN: usize = 32;
/// How long a client may take to go once it was told to.
const FAREWELL: Duration = Duration::from_secs(5);
/// Streams that broke our rules and that a connection may have before it is closed.
const ERRORS: usize = 100;

/// Goes on with a connection that speaks HTTP/2. `crowded`: its client has too many, and is told so.
pub(in crate::servers::http) fn takeover(server: Rc<HttpServer>, origin: Rc<Origin>, crowded: bool) -> Takeover {
    Box::new(move |upgraded| Box::pin(serve(server, origin, crowded, upgraded)))
}

fn builder(live: &Live, config: &Http2) -> Builder {
    let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX >> 1);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(config.streams)
        .initial_window_size(bytes(*config.window))
        .initial_connection_window_size(bytes(*config.connection_window))
        .max_send_buffer_size(usize::try_from(*config.send_buffer).unwrap_or(usize::MAX))
        .max_header_list_size(bytes(live.head_limits.total as u64))
        .max_pending_accept_reset_streams(config.resets as usize)
        .max_local_error_reset_streams(Some(ERRORS))
        .enable_connect_protocol();
    builder
}

/// The streams of a connection that are not answered yet.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    /// Of the task that moves the bytes: it looks at the idle time.
    driver: RefCell<Option<Waker>>,
}

/// Counts a stream for as long as it lives.
struct Counted(Rc<Open>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if let Some(driver) = self.0.driver.take() {
            driver.wake();
        }
    }
}

async fn serve(server: Rc<HttpServer>, origin: Rc<Origin>, crowded: bool, upgraded: Upgraded) {
    let Upgraded { stream, early, place: _place } = upgraded;
    let live = server.live();
    let moved = Rc::new(Moved::default());
    let transport = Transport::new(stream, early, live.timeouts.write, moved.clone());
    let handshake = builder(&live, &live.http2).handshake::<_, Bytes>(transport);
    match timeout(live.timeouts.header, handshake).await {
        Ok(Ok(connection)) => {
            Session { server: server.clone(), origin, crowded, open: Rc::default(), idle: Alarm::new() }.run(connection).await;
        }
        Ok(Err(error)) => log_debug!("{}: {} speaks no HTTP/2: {error}", origin.server, origin.peer),
        Err(late) => log_debug!("{}: {} begins no HTTP/2: {late}", origin.server, origin.peer),
    }
    add(server.host.slot.bytes_in(), moved.received.get());
    add(server.host.slot.bytes_out(), moved.sent.get());
}

struct Session {
    server: Rc<HttpServer>,
    origin: Rc<Origin>,
    /// The client has too many connections.
    crowded: bool,
    open: Rc<Open>,
    idle: Alarm,
}

/// What happens next on a connection.
enum Next {
    Stream(Box<http::Request<h2::RecvStream>>, h2::server::SendResponse<Bytes>),
    /// The worker goes, or the client has been idle for too long.
    Leave,
    Over,
}

impl Session {
    async fn run(self, mut connection: Connection<Transport, Bytes>) {
        let streams = Scope::new();
        let leaving = self.server.leaving.member();
        let (mut count, mut told, mut turn) = (0, false, 0);
        loop {
            let next = poll_fn(|cx| {
                if turn == STREAMS_A_TURN {
                    turn = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => return Poll::Ready(Next::Stream(Box::new(request), respond)),
                    Poll::Ready(Some(Err(error))) => {
                        log_debug!("{}: {}: {error}", self.origin.server, self.origin.peer);
                        return Poll::Ready(Next::Over);
                    }
                    Poll::Ready(None) => return Poll::Ready(Next::Over),
                    Poll::Pending => turn = 0,
                }
                if !told && leaving.poll(cx).is_ready() {
                    return Poll::Ready(Next::Leave);
                }
                self.poll_idle(cx, told)
            });
            match next.await {
                Next::Stream(request, respond) => {
                    turn += 1;
                    count += 1;
                    let live = self.server.live();
                    if (count >= live.keep_alive_requests || self.crowded) && !told {
                        told = true;
                        connection.graceful_shutdown();
                    }
                    self.begin(&streams, live, request, respond);
                }
                Next::Leave if told => break,
                Next::Leave => {
                    told = true;
                    self.idle.clear();
                    connection.graceful_shutdown();
                }
                Next::Over => break,
            }
        }
        streams.cancel().await;
    }

    fn begin(
        &self,
        streams: &Scope,
        live: Rc<Live>,
        request: Box<http::Request<h2::RecvStream>>,
        respond: h2::server::SendResponse<Bytes>,
    ) {
        self.open.count.set(self.open.count.get() + 1);
        self.idle.clear();
        let counted = Counted(self.open.clone());
        let respond = Rc::new(RefCell::new(respond));
        let running = Running { server: self.server.clone(), origin: self.origin.clone(), crowded: self.crowded, live, respond };
        streams.spawn(async move {
            let _counted = counted;
            running.answer(*request).await;
        });
    }

    /// [`Next::Leave`] when no stream was open for too long; for who was told to go, sooner.
    fn poll_idle(&self, cx: &mut Context<'_>, told: bool) -> Poll<Next> {
        if self.open.count.get() > 0 {
            self.idle.clear();
            self.open.driver.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        if !self.idle.is_set() {
            let idle = if self.crowded { CROWDED } else { self.server.live().timeouts.idle };
            self.idle.set(if told { FAREWELL } else { idle });
        }
        self.idle.poll(cx).map(|()| Next::Leave)
    }
}
