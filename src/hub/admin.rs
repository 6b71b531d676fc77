//! The admin listener: how everything is, as JSON, for who has the token.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{SockaddrStorage, getsockname};

use crate::codec::http::Method;
use crate::config::Settings;
use crate::link::Port;
use crate::net::{Address, Balance, Listener, Peer};
use crate::process::child::tell;
use crate::process::{Command, ListenSocket, Outcome, ToMaster};
use crate::reactor::{self, Task};
use crate::request::route::{Action, Host, Route};
use crate::request::{Answer, Handler, Request, Response};
use crate::scoreboard::Slot;
use crate::secret::Secret;
use crate::servers::host::RequestIds;
use crate::servers::http::HttpServer;
use crate::servers::http::config::Http;
use crate::servers::live::Live;
use crate::{log_error, log_warn};

/// How long the master may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that may be open at once.
const MOST_CONNECTIONS: u32 = 256;

/// The admin listener and what it knows.
pub(super) struct Admin {
    token: RefCell<Option<Secret>>,
    control: Rc<Port>,
    questions: RefCell<HashMap<u64, async_channel::Sender<Outcome>>>,
    next: Cell<u64>,
    server: RefCell<Option<Rc<HttpServer>>>,
    listeners: RefCell<BTreeMap<Address, Task<()>>>,
}

impl Admin {
    pub(super) fn new(settings: &Settings, control: Rc<Port>, slot: Slot, number: usize) -> Rc<Self> {
        let admin = Rc::new(Self {
            token: RefCell::new(settings.admin.token.clone()),
            control,
            questions: RefCell::default(),
            next: Cell::new(1),
            server: RefCell::default(),
            listeners: RefCell::default(),
        });
        let handler: Rc<dyn Handler> = admin.clone();
        let config = Http {
            routes: vec![Route::new(Host::Any, "/", Action::App("admin".into()))],
            max_connections: MOST_CONNECTIONS,
            ..Http::default()
        };
        let live = Live::new(config.terms(&std::collections::BTreeMap::new()), &[("admin".to_owned(), handler)].into(), None, slot);
        let ids = Rc::new(RequestIds::new(number, std::process::id()));
        admin.server.replace(Some(HttpServer::new("admin", live, slot, ids)));
        admin
    }

    pub(super) fn update(&self, settings: &Settings) {
        self.token.replace(settings.admin.token.clone());
    }

    pub(super) fn listen(&self, socket: ListenSocket) -> io::Result<()> {
        let Some(server) = self.server.borrow().clone() else { return Ok(()) };
        let local = getsockname::<SockaddrStorage>(socket.fd.as_raw_fd()).map_or(Peer::Unknown, |address| Peer::from_storage(&address));
        let listener = Listener::new(socket.fd)?;
        let task = reactor::spawn(accept(listener, server, local));
        self.listeners.borrow_mut().insert(socket.address, task);
        Ok(())
    }

    pub(super) fn unlisten(&self, address: &Address) {
        self.listeners.borrow_mut().remove(address);
    }

    /// The master has answered a question.
    pub(super) fn answer(&self, id: u64, outcome: Outcome) {
        if let Some(asker) = self.questions.borrow_mut().remove(&id) {
            // Who asked may have left.
            let _ = asker.try_send(outcome);
        }
    }

    async fn ask(&self, command: Command) -> Option<Outcome> {
        let id = self.next.get();
        self.next.set(id + 1);
        let (sender, receiver) = async_channel::bounded(1);
        self.questions.borrow_mut().insert(id, sender);
        tell(&self.control, &ToMaster::Ask { id, command });
        let answered = reactor::timeout(PATIENCE, receiver.recv()).await;
        self.questions.borrow_mut().remove(&id);
        answered.ok()?.ok()
    }

    /// Whether a request carries the token. The comparison takes the same time however much of it is right.
    fn is_authorised(&self, request: &Request) -> bool {
        let token = self.token.borrow();
        let (Some(token), Some(given)) = (token.as_ref(), request.head.fields.get("authorization")) else { return false };
        let Some((scheme, given)) = given.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(given)
    }

    async fn status(&self) -> Response {
        let Some(outcome) = self.ask(Command::Status).await else { return Response::error(504, "the master did not answer") };
        match outcome.status.as_deref().map(serde_json::to_vec_pretty) {
            Some(Ok(mut json)) => {
                json.push(b'\n');
                let mut response = Response::new(200, json);
                response.fields.push_static("Content-Type", "application/json");
                response.fields.push_static("Cache-Control", "no-store");
                response
            }
            _ => Response::error(500, &outcome.lines.join("; ")),
        }
    }
}

impl Handler for Admin {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        if !self.is_authorised(&request) {
            let mut response =
                Response::error(401, "the admin token is missing or wrong; it stands in `admin.token` of the data directory");
            response.fields.push_static("WWW-Authenticate", "Bearer realm=\"skep\"");
            return Answer::Now(response);
        }
        match (request.path(), &request.head.method) {
            ("/status", Method::Get | Method::Head) => Answer::Later(Box::pin(async move { self.status().await })),
            ("/status", _) => {
                let mut response = Response::error(405, "/status can only be read");
                response.fields.push_static("Allow", "GET, HEAD");
                Answer::Now(response)
            }
            _ => Answer::Now(Response::error(404, "the admin listener knows /status")),
        }
    }
}

struct Room(Rc<HttpServer>);

impl Balance for Room {
    fn is_loaded(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

async fn accept(listener: Listener, server: Rc<HttpServer>, local: Peer) {
    let room = Room(server.clone());
    loop {
        let accepted = match listener.accept(&room, |error| log_warn!("admin: no connection can be taken for now: {error}")).await {
            Ok(accepted) => accepted,
            Err(error) => {
                log_error!("admin: the listener failed: {error}");
                return;
            }
        };
        if let Err(error) = server.serve(accepted, &local) {
            log_warn!("admin: a connection was dropped: {error}");
        }
    }
}
