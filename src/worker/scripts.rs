//! A Luau application that follows its files: what is saved is what runs.
//!
//! In development the files are looked at before each request, so that the next request runs what was just saved, and code that does not load
//! shows why in the browser. In production a change is taken up by itself and code that does not load leaves the old one running.

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::config::Watch;
use crate::reactor::{Io, Scope, sleep};
use crate::request::{Answer, Connection, Handler, Request, RequestId, Response};
use crate::script::config::ScriptApp as Config;
use crate::script::{Limits, Mode, ScriptApp, ScriptError, Services, Source, embedded, error_page};
use crate::websocket::Sessions;
use crate::{log_error, log_info};

/// How long tasks of replaced code may go on.
const RETIRE: Duration = Duration::from_secs(30);

/// How an application follows its files.
#[derive(Clone, Copy)]
pub(super) struct Following {
    /// Errors are shown to the browser, files looked at before each request.
    pub(super) dev: bool,
    /// Saved files are taken up.
    pub(super) follow: bool,
    /// Code that does not load is an error of the start.
    pub(super) strict: bool,
}

/// What runs now.
enum Current {
    App(Rc<ScriptApp>),
    /// The code does not load, and this is what the browser sees of it.
    Broken(Page),
}

/// What is answered in the place of an application that does not load.
struct Page {
    status: u16,
    content_type: &'static str,
    body: String,
}

/// An application of the kind `Script` in this worker.
pub(super) struct LiveScript {
    name: String,
    config: Config,
    mode: Mode,
    services: Services,
    current: RefCell<Current>,
    watch: RefCell<Option<Watch>>,
    scope: Scope,
}

impl LiveScript {
    /// Loads the application, and follows its files when `follow` says so.
    ///
    /// # Errors
    /// In words, when it does not load and `strict` says that then nothing is to change. Otherwise its routes say that it is broken until a saved
    /// file mends it: one application must not keep the others from being served.
    pub(super) async fn start(
        name: &str,
        config: &Config,
        Following { dev, follow, strict }: Following,
        services: Services,
    ) -> Result<Rc<Self>, String> {
        let mode = if dev { Mode::Development } else { Mode::Production };
        let loaded = load(name, config, mode, &services).await;
        let (current, files) = match loaded {
            Ok(app) => {
                let files = app.files_read();
                (Current::App(app), files)
            }
            Err(error) if strict => return Err(error.to_string()),
            Err(error) => {
                log_error!(app = name; "{error}");
                (Current::Broken(page(name, &error, mode)), vec![config.path.clone()])
            }
        };
        let live = Rc::new(Self {
            name: name.to_owned(),
            config: config.clone(),
            mode,
            services,
            current: RefCell::new(current),
            watch: RefCell::new(None),
            scope: Scope::new(),
        });
        if follow && config.embedded().is_none() {
            live.follow(&files);
        }
        Ok(live)
    }

    /// Watches the files. Without watches left the application runs on, and changes need a reload.
    fn follow(self: &Rc<Self>, files: &[PathBuf]) {
        let watched = self.watched(files);
        let watch = Watch::new(&watched).and_then(|watch| Ok((watch.as_fd().try_clone_to_owned()?, watch)));
        let (fd, watch) = match watch {
            Ok(watch) => watch,
            Err(error) => {
                log_error!(app = &self.name; "its files cannot be watched, changes need `skep reload`: {error}");
                return;
            }
        };
        self.watch.replace(Some(watch));
        let live = Rc::downgrade(self);
        self.scope.spawn(async move {
            let Ok(events) = Io::listener(fd) else { return };
            loop {
                events.readable().await;
                loop {
                    let Some(live) = live.upgrade() else { return };
                    if live.take_changes(false) {
                        live.reload().await;
                    }
                    let wait = live.watch.borrow().as_ref().and_then(Watch::wait);
                    drop(live);
                    match wait {
                        Some(wait) => sleep(wait + Duration::from_millis(1)).await,
                        None => break,
                    }
                }
            }
        });
    }

    /// What to watch: the files that were read, and everything else of the directory.
    fn watched(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let mut watched = files.to_vec();
        if self.config.path.is_dir() {
            watched.push(self.config.path.join("*.luau"));
        } else {
            watched.push(self.config.path.clone());
        }
        watched
    }

    /// Whether files have changed since the last time. `at_once` does not wait until the saving has settled.
    fn take_changes(&self, at_once: bool) -> bool {
        let mut watch = self.watch.borrow_mut();
        let Some(watch) = watch.as_mut() else { return false };
        let changed = if at_once { watch.changed_so_far() } else { watch.changed() };
        match changed {
            Ok(files) => !files.is_empty(),
            Err(error) => {
                log_error!(app = &self.name; "its files cannot be watched any more: {error}");
                false
            }
        }
    }

    async fn reload(&self) {
        let loaded = load(&self.name, &self.config, self.mode, &self.services).await;
        let files = match loaded {
            Ok(app) => {
                log_info!(app = &self.name; "loaded anew");
                let files = app.files_read();
                if let Current::App(old) = self.current.replace(Current::App(app)) {
                    self.scope.spawn(async move { old.retire(RETIRE).await });
                }
                files
            }
            Err(error) => {
                log_error!(app = &self.name; "{error}");
                if self.mode == Mode::Production {
                    if matches!(&*self.current.borrow(), Current::App(_)) {
                        log_error!(app = &self.name; "the code that was loaded before runs on");
                    }
                } else {
                    self.current.replace(Current::Broken(page(&self.name, &error, self.mode)));
                }
                return;
            }
        };
        let watched = self.watched(&files);
        if let Some(watch) = self.watch.borrow_mut().as_mut()
            && let Err(error) = watch.replace(&watched)
        {
            log_error!(app = &self.name; "not all of its files can be watched: {error}");
        }
    }

    /// Answers a request, or one that asks for WebSocket when there are `sessions`.
    fn dispatch(&self, request: Request, sessions: Option<&Rc<Sessions>>) -> Answer {
        match &*self.current.borrow() {
            Current::App(app) => match sessions {
                Some(sessions) => app.clone().websocket(request, sessions),
                None => app.clone().request(request),
            },
            Current::Broken(page) => {
                let mut response = Response::new(page.status, page.body.clone().into_bytes());
                response.fields.push_static("Content-Type", page.content_type);
                response.fields.push_static("Cache-Control", "no-store");
                Answer::Now(response)
            }
        }
    }
}

impl LiveScript {
    /// In development what was saved is loaded first.
    fn answer(self: Rc<Self>, request: Request, sessions: Option<&Rc<Sessions>>) -> Answer {
        if self.mode == Mode::Development && self.take_changes(true) {
            let sessions = sessions.cloned();
            return Answer::Later(Box::pin(async move {
                self.reload().await;
                match self.dispatch(request, sessions.as_ref()) {
                    Answer::Now(response) => response,
                    Answer::Later(future) => future.await,
                }
            }));
        }
        self.dispatch(request, sessions)
    }
}

impl Handler for LiveScript {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        self.answer(request, None)
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        self.answer(request, Some(sessions))
    }

    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        match &*self.current.borrow() {
            Current::App(app) => app.clone().connection(connection),
            Current::Broken(_) => Box::pin(async {}),
        }
    }

    fn trace(&self, id: RequestId) -> Option<String> {
        match &*self.current.borrow() {
            Current::App(app) => app.trace(id),
            Current::Broken(_) => None,
        }
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        match &*self.current.borrow() {
            Current::App(app) => app.clone().drain(),
            Current::Broken(_) => Box::pin(async {}),
        }
    }
}

async fn load(name: &str, config: &Config, mode: Mode, services: &Services) -> Result<Rc<ScriptApp>, ScriptError> {
    let source = match config.embedded() {
        Some(embedded) => embedded::source(embedded).ok_or(ScriptError::NoEntry)?,
        None => Source::path(&config.path),
    };
    ScriptApp::load(name, source, &config.config, Limits::from_config(&config.limits), services.clone(), mode).await
}

fn page(name: &str, error: &ScriptError, mode: Mode) -> Page {
    if mode == Mode::Production {
        let body = "503 Service Unavailable: the application cannot be loaded; the log says why\n".to_owned();
        return Page { status: 503, content_type: "text/plain; charset=utf-8", body };
    }
    let body = match error {
        ScriptError::Fault(fault) => error_page::load_failure(name, fault),
        other => error_page::not_loaded(name, &other.to_string()),
    };
    Page { status: 500, content_type: "text/html; charset=utf-8", body }
}
