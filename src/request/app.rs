//! What answers requests: the trait that embedding programs implement, and the one that transports call.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use super::{Origin, Request, RequestId, Response};
use crate::net::Stream;
use crate::websocket::Sessions;

/// An application in Rust: registered under a name, started once a worker, called for every request or connection of its routes.
///
/// ```ignore
/// struct Counter { count: Cell<u64>, step: u64 }
///
/// #[derive(serde::Deserialize)]
/// struct Config { step: u64 }
///
/// impl skep::App for Counter {
///     type Config = Config;
///     async fn start(config: Config) -> Result<Self, StartError> {
///         Ok(Self { count: Cell::new(0), step: config.step })
///     }
///     async fn request(self: Rc<Self>, _: Request) -> Response {
///         self.count.set(self.count.get() + self.step);
///         Response::text(200, self.count.get().to_string())
///     }
/// }
/// ```
pub trait App: Sized + 'static {
    /// Its `config` in the configuration file.
    type Config: DeserializeOwned;

    /// Makes the application ready; called once in every worker, before it takes connections.
    fn start(config: Self::Config) -> impl Future<Output = Result<Self, StartError>>;

    /// Answers a request. The future is dropped when the client leaves.
    fn request(self: Rc<Self>, request: Request) -> impl Future<Output = Response> + 'static {
        drop(request);
        async { Response::error(404, "this application takes no requests") }
    }

    /// Serves a raw connection until it ends. Without an implementation of its own the connection is closed.
    fn connection(self: Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static {
        drop(connection);
        async {}
    }

    /// The worker is about to go: finish what goes on by itself. Requests under way are waited for in any case.
    fn drain(&self) {}
}

/// Why an application cannot start, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A raw connection given to an application.
pub struct Connection {
    /// The connection.
    pub stream: Rc<Stream>,
    /// Where it came from.
    pub origin: Rc<Origin>,
}

/// A connection that speaks another protocol from here on.
pub struct Upgraded {
    /// The connection.
    pub stream: Stream,
    /// What the client has sent already behind its request.
    pub early: Vec<u8>,
    /// The place among the server's connections, to be kept for as long as this one lives.
    pub place: Box<dyn std::any::Any>,
}

/// Takes a connection over once its answer, 101, is sent. The future is the rest of the connection's life.
pub type Takeover = Box<dyn FnOnce(Upgraded) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A response now, or later. Most answers need no wait, and then no future is allocated.
pub enum Answer {
    /// The response.
    Now(Response),
    /// A future of it; dropped when the client leaves.
    Later(Pin<Box<dyn Future<Output = Response>>>),
}

/// What a transport calls. Everything that answers requests is one: an [`App`], a script, a folder of files.
pub trait Handler {
    /// Answers a request.
    fn request(self: Rc<Self>, request: Request) -> Answer;

    /// Answers a request that asks for WebSocket: with 101 and [`super::ResponseBody::Upgrade`], or like any other. `sessions` are the server's
    /// connections of that kind.
    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        let _ = sessions;
        self.request(request)
    }

    /// Whom it stands in front of, if it only changes what comes and goes: whatever is not about requests is that one's matter.
    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        None
    }

    /// Serves a raw connection until it ends. Without an implementation of its own the connection is closed.
    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        match self.beyond() {
            Some(beyond) => beyond.clone().connection(connection),
            None => Box::pin(async {}),
        }
    }

    /// Where a request's handler waits, a line each call, each begun by a line end; `None` when it does not, or that cannot be said.
    fn trace(&self, id: RequestId) -> Option<String> {
        self.beyond()?.trace(id)
    }

    /// The worker is about to go. Ends when the application has done what it does about that; requests under way are waited for in any case.
    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        match self.beyond() {
            Some(beyond) => beyond.clone().drain(),
            None => Box::pin(async {}),
        }
    }
}

impl<A: App> Handler for A {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        Answer::Later(Box::pin(App::request(self, request)))
    }

    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(App::connection(self, connection))
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        App::drain(&*self);
        Box::pin(async {})
    }
}
