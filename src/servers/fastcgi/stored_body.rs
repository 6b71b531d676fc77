//! A body that the front has stored in a file, whose name it gives as `REQUEST_BODY_FILE`.

use std::cell::RefCell;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::request::file::{Roots, Unopened};
use crate::request::{BodyError, BodySource, Parameters};

/// The parameter.
const NAME: &str = "REQUEST_BODY_FILE";
/// What is read at once.
const PIECE: u64 = 256 << 10;

/// The path that the front names.
pub(super) fn named(parameters: &Parameters) -> Option<&[u8]> {
    parameters.get(NAME).filter(|path| !path.is_empty())
}

/// Why a stored body is not read, for the log.
pub(super) fn refusal(why: &Unopened) -> String {
    match why {
        Unopened::Outside(path) => format!("{NAME}: {path:?} lies in none of `body_files`"),
        why => format!("{NAME}: {why}"),
    }
}

/// A file, read piece by piece in the blocking pool.
pub(super) struct StoredBody {
    file: Arc<File>,
    length: u64,
    state: RefCell<State>,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>>>>;

#[derive(Default)]
struct State {
    offset: u64,
    reading: Option<Reading>,
    failed: Option<BodyError>,
}

impl StoredBody {
    /// Opens the file at `path` within `roots`.
    ///
    /// # Errors
    /// [`Unopened`].
    pub(super) async fn open(roots: &Roots, path: &[u8]) -> Result<Rc<Self>, Unopened> {
        let path = std::str::from_utf8(path).map_err(|_| Unopened::Outside(String::from_utf8_lossy(path).into_owned()))?;
        let (file, metadata) = roots.file(path).await?;
        Ok(Rc::new(Self { file: Arc::new(file), length: metadata.len(), state: RefCell::default() }))
    }

    /// How long it is, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How much of it was read.
    pub(super) fn read(&self) -> u64 {
        self.state.borrow().offset
    }
}

impl BodySource for StoredBody {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut state = self.state.borrow_mut();
        if let Some(failed) = &state.failed {
            return Poll::Ready(Err(failed.clone()));
        }
        let (offset, left) = (state.offset, self.length - state.offset);
        if left == 0 {
            return Poll::Ready(Ok(None));
        }
        let reading = state.reading.get_or_insert_with(|| {
            let file = self.file.clone();
            Box::pin(blocking::unblock(move || {
                let mut piece = vec![0; usize::try_from(left.min(PIECE)).unwrap_or(usize::MAX)];
                let read = file.read_at(&mut piece, offset)?;
                piece.truncate(read);
                Ok(piece)
            }))
        });
        let read = ready!(reading.as_mut().poll(cx));
        state.reading = None;
        let failure = match read {
            Ok(piece) if !piece.is_empty() => {
                state.offset += piece.len() as u64;
                return Poll::Ready(Ok(Some(piece.into())));
            }
            Ok(_) => "its file became shorter".to_owned(),
            Err(error) => format!("its file cannot be read: {error}"),
        };
        let failure = BodyError::Malformed(failure);
        state.failed = Some(failure.clone());
        Poll::Ready(Err(failure))
    }
}
