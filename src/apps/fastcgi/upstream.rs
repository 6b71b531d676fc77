//! The application: requests handed to a FastCGI server, and what it answers.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::config::FastCgiUpstream;
use super::exchange::{Allowance, Exchange, REQUEST};
use super::place::find;
use super::pool::Pool;
use crate::apps::answer::answer;
use crate::apps::collected::{Uncollected, body};
use crate::apps::complaints::Complaints;
use crate::apps::error_log::ErrorLog;
use crate::apps::gate::{Gate, full};
use crate::apps::target::BadTarget;
use crate::apps::variables::{Script, variables};
use crate::apps::work::Work;
use crate::codec::fastcgi::{BeginRequest, Kind, RESPONDER, write_end, write_pair, write_record};
use crate::net::Socket;
use crate::reactor::{self, Scope, timeout};
use crate::request::file::SentFiles;
use crate::request::{Answer, Handler, Request, Response, StartError};

/// Programs behind a FastCGI server.
pub struct Upstream {
    name: Rc<str>,
    config: FastCgiUpstream,
    /// The directory of the programs, as text for the parameters.
    root: String,
    pool: Rc<Pool>,
    sent: SentFiles,
    gate: Rc<Gate>,
    /// That the server cannot be reached.
    unreached: Complaints,
    /// Requests whose answers are through and that have not ended.
    scope: Scope,
}

impl Upstream {
    /// Makes it ready; the server is asked for nothing yet.
    ///
    /// # Errors
    /// A directory of files to be sent is not there.
    pub fn new(name: &str, config: &FastCgiUpstream) -> Result<Self, StartError> {
        let root = config.root.to_str().ok_or_else(|| StartError("the name of the directory is no UTF-8".to_owned()))?;
        Ok(Self {
            name: name.into(),
            root: root.trim_end_matches('/').to_owned(),
            pool: Pool::new(name, config.address.clone(), config.max_idle as usize, *config.timeouts.idle),
            sent: SentFiles::open(&config.sendfile_roots)?,
            gate: Gate::new(config.max_connections as usize, config.queue as usize, *config.queue_timeout),
            unreached: Complaints::default(),
            scope: Scope::new(),
            config: config.clone(),
        })
    }

    async fn answer(self: Rc<Self>, request: Request) -> Response {
        let place = match find(&self.config, request.path()) {
            Ok(place) => place,
            Err(BadTarget::Malformed) => return Response::error(400, "the path is not encoded properly"),
            Err(BadTarget::Hidden) => return Response::error(404, "there is no such program"),
        };
        let work = Work::new(&self.name, request.id, &place.path, &self.scope);
        let body = match body(&request, self.config.chunked).await {
            Ok(body) => body,
            Err(Uncollected::Body(error)) => return Response::error(error.status(), &error.to_string()),
            Err(Uncollected::Io(error)) => {
                work.error(&format!("the request body cannot be kept: {error}"));
                return Response::error(500, "");
            }
        };
        let pass = match self.gate.enter().await {
            Ok(pass) => pass,
            Err(busy) => return self.gate.refused(&work, &busy),
        };
        let script = Script { root: self.root.clone(), path: place.path, info: place.info };
        let head = self.head(&request, &script, body.length());
        let active = self.pool.begin();
        let asked = reactor::now();
        let repeatable = body.is_empty() && request.head.method.is_idempotent();
        let (socket, sent) = match self.begin(&head, repeatable).await {
            Ok(begun) => begun,
            Err(error) => return self.unreached(&work, &error),
        };
        let times = &self.config.timeouts;
        let waited = if repeatable { reactor::now().saturating_duration_since(asked) } else { Duration::ZERO };
        let allowance = Allowance { head: *times.head, waited, body: *times.body, output: self.config.max_output.map(|most| *most) };
        let exchange = Exchange::new((socket, self.pool.clone()), (head, sent), body, ErrorLog::new(&work), allowance, (pass, active));
        answer(exchange, &request, &self.sent, &work).await
    }

    /// The records up to the end of the parameters, or of the body if that is empty.
    fn head(&self, request: &Request, script: &Script, length: Option<u64>) -> Vec<u8> {
        let mut parameters = Vec::new();
        for (name, value) in variables(request, script, length, self.config.authorization) {
            if !self.config.parameters.contains_key(&*name) {
                write_pair(name.as_bytes(), &value, &mut parameters);
            }
        }
        for (name, value) in &self.config.parameters {
            write_pair(name.as_bytes(), value.as_bytes(), &mut parameters);
        }
        let mut head = Vec::with_capacity(parameters.len() + 64);
        BeginRequest { role: RESPONDER, keep: self.config.max_idle > 0 }.write(REQUEST, &mut head);
        write_record(Kind::Params, REQUEST, &parameters, &mut head);
        write_end(Kind::Params, REQUEST, &mut head);
        if length == Some(0) {
            write_end(Kind::Stdin, REQUEST, &mut head);
        }
        head
    }

    /// Sends the first bytes of a request, and how many. A kept connection that takes none was closed meanwhile: then another one does. One that has taken
    /// some is given up for another only if the request may be repeated: the program may have begun.
    async fn begin(&self, head: &[u8], repeatable: bool) -> io::Result<(Socket, usize)> {
        let limit = *self.config.timeouts.connect;
        while let Some(socket) = self.pool.take() {
            if let Ok(Ok(sent)) = timeout(limit, first(&socket, head)).await
                && !(repeatable && sent == head.len() && self.is_closing(&socket).await)
            {
                return Ok((socket, sent));
            }
        }
        let socket = self.pool.connect(limit).await?;
        let sent = timeout(limit, first(&socket, head)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok((socket, sent))
    }

    /// Waits for an answer to begin. Whether the server closes the connection instead, as PHP-FPM does once a process has served `pm.max_requests`.
    async fn is_closing(&self, socket: &Socket) -> bool {
        matches!(timeout(*self.config.timeouts.head, socket.first_byte()).await, Ok(Ok(None) | Err(_)))
    }

    /// The answer when the server cannot be reached.
    fn unreached(&self, work: &Work, error: &io::Error) -> Response {
        self.pool.failed();
        self.unreached.tell(|held| work.error(&format!("{} cannot be reached: {error}{held}", self.config.address)));
        match error.kind() {
            io::ErrorKind::TimedOut => Response::error(504, "the server of the program took too long"),
            // A unix socket whose queue is full says so.
            io::ErrorKind::WouldBlock => full(*self.config.queue_timeout),
            _ => Response::error(502, "the server of the program cannot be reached"),
        }
    }
}

/// Writes what the socket takes at once.
async fn first(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| socket.poll_write_vectored(cx, &[IoSlice::new(bytes)])).await
}

impl Handler for Upstream {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        Answer::Later(Box::pin(self.answer(request)))
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.scope.wait().await })
    }
}
