//! What authorities are shown when they look whether names lead here: in memory for the workers of this hub, and in files for those of another
//! instance, since during an upgrade either may be asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::error::AcmeError;
use super::files;

/// The longest token or name that is looked for.
const LONGEST: usize = 253;
/// What is older was left by a process that was killed: no order takes so long.
const OLDEST: Duration = Duration::from_hours(1);

/// Answers by token, or by name, as long as the authority may ask. No token has a dot, and every name has one.
pub(super) struct Answers {
    own: RefCell<BTreeMap<String, String>>,
    directory: PathBuf,
}

/// An answer that can be asked for as long as this lives.
pub(super) struct Shown {
    answers: Rc<Answers>,
    asked: String,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.answers.own.borrow_mut().remove(&self.asked);
        if let Some(file) = self.answers.file(&self.asked) {
            // What cannot be removed now is when the next hub starts.
            blocking::unblock(move || drop(fs::remove_file(file))).detach();
        }
    }
}

impl Answers {
    /// Files lie below the data directory.
    pub(super) fn new(data: &Path) -> Rc<Self> {
        let directory = data.join("acme").join("answers");
        let old = directory.clone();
        blocking::unblock(move || remove_old(&old)).detach();
        Rc::new(Self { own: RefCell::default(), directory })
    }

    /// Shows an answer.
    pub(super) async fn show(self: &Rc<Self>, asked: String, answer: String) -> Result<Shown, AcmeError> {
        self.own.borrow_mut().insert(asked.clone(), answer.clone());
        let shown = Shown { answers: self.clone(), asked };
        if let Some(file) = self.file(&shown.asked) {
            files::write(file, answer.into_bytes()).await?;
        }
        Ok(shown)
    }

    /// The answer that is shown by this hub.
    pub(super) fn own(&self, asked: &str) -> Option<String> {
        self.own.borrow().get(asked).cloned()
    }

    /// The answer that another shows.
    pub(super) async fn other(self: Rc<Self>, asked: String) -> Option<String> {
        let bytes = files::read(self.file(&asked)?).await.ok().flatten()?;
        String::from_utf8(bytes).ok()
    }

    /// Where an answer lies; `None` for what is neither token nor name. Anybody may ask for anything.
    fn file(&self, asked: &str) -> Option<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = !asked.is_empty() && asked.len() <= LONGEST && !asked.starts_with('.') && asked.bytes().all(plain);
        is_name.then(|| self.directory.join(format!("{asked}.answer")))
    }
}

fn remove_old(directory: &Path) {
    // There is none before the first order.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        if written.is_ok_and(|written| SystemTime::now().duration_since(written).is_ok_and(|age| age > OLDEST)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn what_one_shows_another_finds_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Answers::new(folder.path()), Answers::new(folder.path()));
        for asked in ["to-ken_7", "one.test"] {
            let shown = block_on(one.show(asked.to_owned(), format!("{asked}.x"))).unwrap();
            assert_eq!((one.own(asked), two.own(asked)), (Some(format!("{asked}.x")), None));
            assert_eq!(block_on(two.clone().other(asked.to_owned())), Some(format!("{asked}.x")));
            let file = one.file(asked).unwrap();
            drop(shown);
            assert_eq!(one.own(asked), None);
            while file.exists() {
                std::thread::yield_now();
            }
        }
        for asked in ["", ".", "..", "../one.pem", "a/b", "a\0b", &"a".repeat(300)] {
            assert_eq!(block_on(two.clone().other(asked.to_owned())), None, "{asked}");
        }
    }
}
