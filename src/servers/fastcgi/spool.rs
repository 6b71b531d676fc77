//! Answers that go to the front as files: it gets a name and sends the file itself, while the worker has forgotten the answer.
//!
//! A worker has a folder of its own in the directory and holds a lock on it for as long as it lives. A folder whose lock can be had is one of a
//! worker that is gone: what is left in it is removed by the others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::{StreamExt, stream};

use super::config::{SendFile, When};
use super::folder::{Folder, sweep};
use crate::codec::http::Method;
use crate::reactor;
use crate::request::{BodyStream, Parameters, Response, ResponseBody, ResponseFields};
use crate::scoreboard::{Slot, add, subtract};
use crate::{log_debug, log_warn};

/// How often a warning about the directory is repeated at most.
const WARNINGS: Duration = Duration::from_mins(1);

/// Answers as files.
pub(super) struct Spool {
    config: SendFile,
    folder: RefCell<Option<Arc<Folder>>>,
    kept: RefCell<Kept>,
    /// Something is removed at the times at which it is due.
    cleans: Cell<bool>,
    warned: Cell<Option<Instant>>,
    /// Where is shown what lies there.
    slot: Slot,
    this: Weak<Spool>,
}

/// What is in the folder, the oldest first.
#[derive(Default)]
struct Kept {
    files: VecDeque<(Instant, PathBuf, u64)>,
    bytes: u64,
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What still lies there is not ours any more: see `Folder`.
        let kept = self.kept.get_mut();
        subtract(self.slot.stored_files(), kept.files.len() as u64);
        subtract(self.slot.stored_bytes(), kept.bytes);
    }
}

impl Spool {
    /// Answers as files, as the configuration says. What workers before have left in the directory is removed. `slot` shows
    /// how it is.
    pub(super) fn new(config: SendFile, slot: Slot) -> Rc<Self> {
        let (directory, keep) = (config.directory.clone(), *config.keep);
        reactor::spawn(async move {
            for _ in 0..2 {
                let directory = directory.clone();
                let removed = blocking::unblock(move || sweep(&directory, keep)).await;
                add(slot.stored_abandoned(), removed);
                // What was too young the first time is not after this.
                reactor::sleep(keep + Duration::from_secs(1)).await;
            }
        })
        .detach();
        Rc::new_cyclic(|this| Self {
            config,
            folder: RefCell::default(),
            kept: RefCell::default(),
            cleans: Cell::new(false),
            warned: Cell::new(None),
            slot,
            this: this.clone(),
        })
    }

    /// How it is configured.
    pub(super) fn config(&self) -> &SendFile {
        &self.config
    }

    /// Whether this answer is to go as a file.
    pub(super) fn wants(&self, parameters: &Parameters, method: &Method, response: &Response) -> bool {
        let says = |name| parameters.get(name).is_some_and(|value| !matches!(value, b"" | b"0" | b"off" | b"no"));
        let asked = match self.config.when {
            When::Asked => says("USE_SENDFILE"),
            When::Always => true,
        };
        if !asked || says("DONT_USE_SENDFILE") || *method == Method::Head || response.status != 200 {
            return false;
        }
        let is_own = |field: &str| response.field(field).is_some();
        // nginx sends the file without the Content-Encoding that the answer had.
        if ["x-sendfile", "x-accel-redirect", "content-range", "content-encoding"].into_iter().any(is_own) {
            return false;
        }
        match &response.body {
            ResponseBody::Bytes(bytes) => bytes.len() as u64 >= *self.config.min,
            ResponseBody::Measured(_, length) => (*self.config.min..=*self.config.max_file).contains(length),
            // Events never end, and are wanted as they come.
            ResponseBody::Stream(_) => !response.field("content-type").is_some_and(|kind| kind.starts_with(b"text/event-stream")),
            _ => false,
        }
    }

    /// Puts the body of an answer into a file: gives the answer that names it, and how long it is. Where that cannot be, the answer goes as it is.
    ///
    /// # Errors
    /// What the body itself says.
    pub(super) async fn store(&self, mut response: Response) -> io::Result<(Response, u64)> {
        let (path, size) = match self.stored(std::mem::take(&mut response.body)).await? {
            Ok(stored) => stored,
            Err(body) => {
                add(self.slot.stored_not(), 1);
                return Ok((Response { body, ..response }, 0));
            }
        };
        self.keep(path.clone(), size);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = self.config.prefix.as_deref().unwrap_or_default();
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let mut fields = ResponseFields::default();
        // The configuration is checked: nothing in it breaks a line.
        let _ = fields.push(self.config.field.name(), format!("{prefix}{folder}/{name}"));
        for (name, value) in response.fields.iter() {
            let _ = fields.push(name, value);
        }
        response.fields = fields;
        Ok((response, size))
    }

    /// The file that a body was written to, and its length; or the body, if it cannot be.
    async fn stored(&self, body: ResponseBody) -> io::Result<Result<(PathBuf, u64), ResponseBody>> {
        let folder = match self.folder().await {
            Ok(folder) => folder,
            Err(error) => {
                self.warn(&error);
                return Ok(Err(body));
            }
        };
        match body {
            ResponseBody::Bytes(bytes) => Ok(self.whole(folder, &bytes).await.ok_or(ResponseBody::Bytes(bytes))),
            ResponseBody::Stream(stream) | ResponseBody::Measured(stream, _) => {
                Ok(self.collect(&folder, stream).await?.map_err(ResponseBody::Stream))
            }
            other => Ok(Err(other)),
        }
    }

    /// Writes bytes to a file; `None` when they cannot be.
    async fn whole(&self, folder: Arc<Folder>, bytes: &Bytes) -> Option<(PathBuf, u64)> {
        let size = bytes.len() as u64;
        if !self.has_room(size) {
            return None;
        }
        let whole = bytes.clone();
        let written = blocking::unblock(move || {
            let (mut file, path) = folder.create()?;
            written(&mut file, &path, &whole)?;
            io::Result::Ok(path)
        });
        written.await.inspect_err(|error| self.warn(error)).ok().map(|path| (path, size))
    }

    /// Writes a stream to a file. Where the file becomes too large, gives a stream of what was written and the rest.
    async fn collect(&self, folder: &Arc<Folder>, mut body: BodyStream) -> io::Result<Result<(PathBuf, u64), BodyStream>> {
        let made = folder.clone();
        let (file, path) = match blocking::unblock(move || made.create()).await {
            Ok((file, path)) => (Arc::new(file), path),
            Err(error) => {
                self.warn(&error);
                return Ok(Err(body));
            }
        };
        // Whatever happens, a file that is not told to the front does not stay.
        let unfinished = Unfinished(Some(path));
        let mut size = 0;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            let fits = size + piece.len() as u64 <= *self.config.max_file && self.has_room(size + piece.len() as u64);
            let failed = if fits {
                let (target, bytes) = (file.clone(), piece.clone());
                blocking::unblock(move || (&*target).write_all(&bytes)).await.err()
            } else {
                Some(io::ErrorKind::StorageFull.into())
            };
            if let Some(error) = failed {
                if fits {
                    self.warn(&error);
                }
                let written = stored_pieces(file, size);
                return Ok(Err(Box::pin(written.chain(stream::once(Ok(piece))).chain(body))));
            }
            size += piece.len() as u64;
        }
        Ok(Ok((unfinished.finished(), size)))
    }

    /// The worker's folder, made when it is first needed.
    async fn folder(&self) -> io::Result<Arc<Folder>> {
        if let Some(folder) = &*self.folder.borrow() {
            return Ok(folder.clone());
        }
        let (directory, keep) = (self.config.directory.clone(), *self.config.keep);
        let made = Arc::new(blocking::unblock(move || Folder::make(&directory, keep)).await?);
        // Another answer may have made one meanwhile; then this one goes.
        Ok(self.folder.borrow_mut().get_or_insert(made).clone())
    }

    fn has_room(&self, size: u64) -> bool {
        size <= *self.config.max_file && self.kept.borrow().bytes + size <= *self.config.max_total
    }

    fn keep(&self, path: PathBuf, size: u64) {
        {
            let mut kept = self.kept.borrow_mut();
            kept.bytes += size;
            add(self.slot.stored_files(), 1);
            add(self.slot.stored_bytes(), size);
            add(self.slot.stored_answers(), 1);
            kept.files.push_back((reactor::now() + *self.config.keep, path, size));
        }
        if !self.cleans.replace(true) {
            let this = self.this.clone();
            reactor::spawn(async move { clean(&this).await }).detach();
        }
    }

    /// Says, not too often, that answers go as they are.
    fn warn(&self, error: &io::Error) {
        let now = reactor::now();
        if self.warned.get().is_none_or(|last| now - last >= WARNINGS) {
            self.warned.set(Some(now));
            log_warn!("answers go to the front as they are, not as files: {}: {error}", self.config.directory.display());
        }
    }
}

/// Removes files when they are due, until there is none.
async fn clean(spool: &Weak<Spool>) {
    loop {
        let next = spool.upgrade().and_then(|spool| {
            let next = spool.kept.borrow().files.front().map(|(due, ..)| *due);
            if next.is_none() {
                spool.cleans.set(false);
            }
            next
        });
        let Some(due) = next else { return };
        reactor::sleep_until(due).await;
        let Some(spool) = spool.upgrade() else { return };
        let mut gone = Vec::new();
        {
            let mut kept = spool.kept.borrow_mut();
            while let Some((_, path, size)) = kept.files.pop_front_if(|(due, ..)| *due <= reactor::now()) {
                kept.bytes -= size;
                subtract(spool.slot.stored_files(), 1);
                subtract(spool.slot.stored_bytes(), size);
                gone.push(path);
            }
        }
        blocking::unblock(move || {
            for path in gone {
                if let Err(error) = fs::remove_file(&path) {
                    log_debug!("{}: {error}", path.display());
                }
            }
        })
        .await;
    }
}

/// A file that is removed unless it is finished.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn finished(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            blocking::unblock(move || fs::remove_file(path)).detach();
        }
    }
}

fn written(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes).inspect_err(|_| {
        // The first error is the one to report.
        let _ = fs::remove_file(path);
    })
}

/// What a file holds up to `size`, as a stream.
fn stored_pieces(file: Arc<File>, size: u64) -> Pin<Box<dyn stream::Stream<Item = io::Result<Bytes>>>> {
    use std::os::unix::fs::FileExt;
    Box::pin(stream::try_unfold(0, move |offset| {
        let file = file.clone();
        async move {
            if offset == size {
                return Ok(None);
            }
            let piece = blocking::unblock(move || {
                let mut piece = vec![0; usize::try_from((size - offset).min(256 << 10)).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut piece, offset)?;
                io::Result::Ok(piece)
            })
            .await?;
            let next = offset + piece.len() as u64;
            Ok(Some((Bytes::from(piece), next)))
        }
    }))
}
