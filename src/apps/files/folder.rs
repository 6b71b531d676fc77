//! The application: a directory that answers requests.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::{Cache, Kept};
use super::config::Files;
use super::source::{Found, Identity, Loaded, Opened, Source};
use crate::apps::target::{BadTarget, Target};
use crate::codec::http::{FieldError, Method};
use crate::reactor;
use crate::request::compression::Coding;
use crate::request::file::{Content, Describer, Facts, Refusal, Root, respond};
use crate::request::{Answer, Handler, Request, Response, ResponseBody, StartError};

/// A directory of files.
#[derive(Debug)]
pub struct Folder {
    source: Arc<Source>,
    describer: Describer,
    precompressed: Vec<Coding>,
    cache: RefCell<Cache>,
}

impl Folder {
    /// Opens the directory.
    ///
    /// # Errors
    /// It is not there or cannot be opened, or a configured header cannot be sent.
    pub fn open(config: &Files) -> Result<Self, StartError> {
        let root = Root::open(&config.root, config.follow_symlinks)
            .map_err(|error| StartError(format!("cannot open the directory {}: {error}", config.root.display())))?;
        let describer = Describer::new(&config.types, config.cache_control.as_deref())
            .map_err(|(what, error)| StartError(format!("{what} cannot be sent: {error}")))?;
        let small = if config.cache.size.get() == 0 { 0 } else { config.cache.max_file.get() };
        let source = Source { root, index: config.index.clone(), listing: config.listing, small };
        let cache = Cache::new(config.cache.size.length(), config.cache.check.get());
        let precompressed = config.precompressed.clone();
        Ok(Self { source: Arc::new(source), describer, precompressed, cache: RefCell::new(cache) })
    }

    fn answer(self: Rc<Self>, request: Request) -> Answer {
        let path = request.path();
        if !self.precompressed.is_empty() {
            return self.coded(request);
        }
        let kept = self.cache.borrow_mut().fresh(path, reactor::now());
        if let Some(kept) = kept {
            return Answer::Now(from_memory(&request, &kept));
        }
        let target = match Target::read(path) {
            Ok(target) => target,
            Err(BadTarget::Malformed) => return Answer::Now(Response::error(400, "the path is not encoded properly")),
            Err(BadTarget::Hidden) => return Answer::Now(refused(&Refusal::NotFound)),
        };
        match self.source.find(&target, false) {
            Ok(Found::File(opened)) => {
                let identity = Identity::of(&opened.metadata);
                let kept = self.cache.borrow_mut().confirm(path, identity, reactor::now());
                match kept {
                    Some(kept) => Answer::Now(from_memory(&request, &kept)),
                    None if opened.metadata.len() <= self.source.small => self.later(request, target, Vec::new()),
                    None => Answer::Now(self.send(&request, *opened)),
                }
            }
            Ok(Found::NeedsSlash) => Answer::Now(to_slash(&request)),
            Ok(Found::Directory) | Err(Refusal::Wait) => self.later(request, target, Vec::new()),
            Err(refusal) => {
                self.cache.borrow_mut().forget(path);
                Answer::Now(refused(&refusal))
            }
        }
    }

    /// Answers where files may lie compressed beside others.
    fn coded(self: Rc<Self>, request: Request) -> Answer {
        let codings = Coding::welcome(&request.head.fields, &self.precompressed);
        let kept = self.cache.borrow_mut().fresh(&key(request.path(), &codings), reactor::now());
        if let Some(kept) = kept {
            return Answer::Now(from_memory(&request, &kept));
        }
        match Target::read(request.path()) {
            Ok(target) => self.later(request, target, codings),
            Err(BadTarget::Malformed) => Answer::Now(Response::error(400, "the path is not encoded properly")),
            Err(BadTarget::Hidden) => Answer::Now(refused(&Refusal::NotFound)),
        }
    }

    /// Answers after the thread pool has looked, and read what is small.
    fn later(self: Rc<Self>, request: Request, target: Target, codings: Vec<Coding>) -> Answer {
        Answer::Later(Box::pin(async move {
            let source = self.source.clone();
            let key = key(request.path(), &codings).into_owned();
            match blocking::unblock(move || source.load(&target, &codings)).await {
                Ok(Loaded::File { opened, content: Some(content) }) => self.keep(&request, &key, &opened, content),
                Ok(Loaded::File { opened, content: None }) => self.send(&request, *opened),
                Ok(Loaded::NeedsSlash) => to_slash(&request),
                Ok(Loaded::Listing(html)) => {
                    let mut response = Response::new(200, html);
                    response.fields.push_static("Content-Type", "text/html; charset=utf-8");
                    response
                }
                Err(refusal) => {
                    self.cache.borrow_mut().forget(&key);
                    refused(&refusal)
                }
            }
        }))
    }

    /// Puts a file that was just read into memory, and answers with it.
    fn keep(&self, request: &Request, key: &str, opened: &Opened, content: Vec<u8>) -> Response {
        let facts = match self.facts(opened) {
            Ok(facts) => facts,
            Err(error) => return unsendable(error),
        };
        let kept = Rc::new(Kept { facts, content: content.into(), identity: Identity::of(&opened.metadata) });
        self.cache.borrow_mut().keep(key, kept.clone(), reactor::now());
        from_memory(request, &kept)
    }

    fn facts(&self, opened: &Opened) -> Result<Facts, FieldError> {
        let now = SystemTime::now();
        if self.precompressed.is_empty() {
            return self.describer.describe(&opened.path, &opened.metadata, now);
        }
        self.describer.describe_coded(&opened.path, opened.coding, &opened.metadata, now)
    }

    /// Answers with a file that is not kept.
    fn send(&self, request: &Request, opened: Opened) -> Response {
        let facts = self.facts(&opened);
        let content = Content::Disk(Rc::new(opened.file));
        facts.and_then(|facts| respond(&request.head, &facts, &content)).unwrap_or_else(unsendable)
    }
}

impl Handler for Folder {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        match request.head.method {
            Method::Get | Method::Head => self.answer(request),
            Method::Options => Answer::Now(with_allow(Response::new(204, ResponseBody::Empty))),
            _ => Answer::Now(with_allow(Response::error(405, "files can only be read"))),
        }
    }
}

/// Under what a file is kept: its path, and the codings that the client takes. A NUL is in no path.
fn key<'a>(path: &'a str, codings: &[Coding]) -> Cow<'a, str> {
    if codings.is_empty() {
        return path.into();
    }
    let names: Vec<&str> = codings.iter().map(|coding| coding.name()).collect();
    format!("{path}\0{}", names.join(",")).into()
}

fn from_memory(request: &Request, kept: &Kept) -> Response {
    respond(&request.head, &kept.facts, &Content::Memory(kept.content.clone())).unwrap_or_else(unsendable)
}

fn with_allow(mut response: Response) -> Response {
    response.fields.push_static("Allow", "GET, HEAD, OPTIONS");
    response
}

/// Sends the client to the same path with a slash at its end, so that relative links in the index work.
fn to_slash(request: &Request) -> Response {
    let mut location = format!("{}/", request.head.path());
    if let Some(query) = request.head.query() {
        location.push('?');
        location.push_str(query);
    }
    Response::redirect(301, &location).unwrap_or_else(unsendable)
}

fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::NotFound => Response::error(404, "there is no such file"),
        Refusal::Forbidden => Response::error(403, "this may not be read"),
        Refusal::Wait => Response::error(503, "the file cannot be opened now"),
        Refusal::Failed(error) => {
            crate::log_error!("a file could not be opened: {error}");
            Response::error(503, "the file cannot be opened now")
        }
    }
}

/// What the configuration was checked against at the start has happened all the same.
fn unsendable(error: FieldError) -> Response {
    crate::log_error!("a header of a file could not be sent: {error}");
    Response::error(500, "")
}
