//! A whole form from the body of a request: its fields in memory, its files in memory or in temporary files.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempPath;

use super::multipart::PartHead;
use super::parts::{FormEvent, PartReader};
use super::{FormError, FormLimits, FormMap, FormReadError, parse_urlencoded};
use crate::codec::http::parameters::Parameterised;
use crate::request::Body;

/// Written to a temporary file at once: large enough that a hop to the thread pool costs little beside it.
const BATCH: usize = 256 << 10;
/// How the names of temporary files begin; our process number follows.
const PREFIX: &str = "skep-upload-";

/// How much a form with files may hold. The whole body has its own limit in the server.
#[derive(Clone, Debug)]
pub struct UploadLimits {
    /// Where temporary files are made. It is created when it is missing.
    pub directory: PathBuf,
    /// The largest file, in bytes; a larger one carries [`UploadError::TooLarge`].
    pub max_file: u64,
    /// The most files; those beyond carry [`UploadError::TooMany`].
    pub max_files: usize,
    /// Files up to this size stay in memory, in bytes.
    pub memory: usize,
    /// For the fields that are no files.
    pub form: FormLimits,
}

impl Default for UploadLimits {
    /// Files of up to 32 MiB in the system's temporary directory.
    fn default() -> Self {
        Self { directory: std::env::temp_dir(), max_file: 32 << 20, max_files: 20, memory: 64 << 10, form: FormLimits::default() }
    }
}

/// A form.
#[derive(Debug, Default)]
pub struct FormData {
    /// The plain fields.
    pub fields: FormMap,
    /// The files in the order they came. They are removed when this is dropped.
    pub files: Vec<Upload>,
}

/// A file that a client sent.
#[derive(Debug)]
pub struct Upload {
    /// The field's name.
    pub name: Vec<u8>,
    /// The file's name at the client, without directories. Not to be trusted.
    pub filename: Vec<u8>,
    /// The type that the client claims.
    pub content_type: Option<Vec<u8>>,
    /// How many bytes were sent, also of a file that was refused.
    pub size: u64,
    /// The content, or why it is not there.
    pub content: Result<UploadContent, UploadError>,
}

/// Where the content of an upload is.
#[derive(Debug)]
pub enum UploadContent {
    /// In memory.
    Memory(Vec<u8>),
    /// In a temporary file.
    File(TemporaryFile),
}

/// Why a file was not kept. The rest of the form is there all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadError {
    /// Larger than this many bytes.
    TooLarge(u64),
    /// More files came before it than are allowed.
    TooMany,
    /// It could not be written; says why.
    Failed(String),
}

impl std::fmt::Display for UploadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "the file is larger than {limit} bytes"),
            Self::TooMany => f.write_str("there are too many files"),
            Self::Failed(why) => write!(f, "the file could not be stored: {why}"),
        }
    }
}

impl std::error::Error for UploadError {}

/// A file that is removed when this is dropped, unless it was moved elsewhere.
#[derive(Debug)]
pub struct TemporaryFile {
    /// `None` only while it is dropped or moved.
    parts: Option<(File, TempPath)>,
}

impl TemporaryFile {
    /// Makes a file that only this user can read. Blocks.
    fn create(directory: &Path) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let make = || tempfile::Builder::new().prefix(&prefix).tempfile_in(directory);
        let file = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(directory)?;
                make()?
            }
            made => made?,
        };
        Ok(Self { parts: Some(file.into_parts()) })
    }

    /// Its path, for as long as it is there.
    pub fn path(&self) -> &Path {
        self.parts.as_ref().map_or(Path::new(""), |(_, path)| path)
    }

    /// The open file. Its position is at the end; use reads at an offset.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn file(&self) -> io::Result<File> {
        match &self.parts {
            Some((file, _)) => file.try_clone(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Moves it to a place where it stays, replacing what is there; across file systems it is copied.
    ///
    /// # Errors
    /// It cannot be moved there; then it is removed.
    pub async fn move_to(mut self, path: PathBuf) -> io::Result<()> {
        let Some((file, temporary)) = self.parts.take() else { return Err(io::ErrorKind::NotFound.into()) };
        blocking::unblock(move || {
            drop(file);
            match temporary.persist(&path) {
                Ok(()) => Ok(()),
                Err(failed) if failed.error.kind() == io::ErrorKind::CrossesDevices => std::fs::copy(&failed.path, &path).map(|_| ()),
                Err(failed) => Err(failed.error),
            }
        })
        .await
    }

    /// Blocks.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.parts {
            Some((file, _)) => file.write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for TemporaryFile {
    /// The name goes at once; the space is freed in the thread pool, because that may take long for a large file.
    fn drop(&mut self) {
        if let Some((file, path)) = self.parts.take() {
            drop(path);
            blocking::unblock(move || drop(file)).detach();
        }
    }
}

/// Removes temporary files whose process is gone: it was killed before it could. Blocks; returns how many there were.
///
/// # Errors
/// The directory cannot be read. One that does not exist is empty.
pub fn remove_stale(directory: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<i32>().ok());
        let gone = |owner: i32| nix::sys::signal::kill(nix::unistd::Pid::from_raw(owner), None) == Err(nix::errno::Errno::ESRCH);
        if owner.is_some_and(|owner| owner > 0 && gone(owner)) {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Reads a form of either kind from a body. Without a body or a `Content-Type` it is empty.
///
/// # Errors
/// [`FormReadError`]: what concerns the whole form. What concerns one file is said with that file.
pub async fn read_form(body: &Body, content_type: Option<&[u8]>, limits: &UploadLimits) -> Result<FormData, FormReadError> {
    let mut form = FormData::default();
    let Some(content_type) = content_type.filter(|_| !body.is_empty()) else { return Ok(form) };
    if let Some(parts) = PartReader::new(content_type)? {
        read_multipart(parts, body, limits, &mut form).await?;
    } else if Parameterised::new(content_type).value.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        let bytes = body.bytes(limits.form.bytes as u64).await?;
        parse_urlencoded(&bytes, &limits.form, &mut form.fields)?;
    } else {
        return Err(FormReadError::Unsupported);
    }
    Ok(form)
}

async fn read_multipart(mut parts: PartReader, body: &Body, limits: &UploadLimits, form: &mut FormData) -> Result<(), FormReadError> {
    let mut count = 0;
    let mut text_left = limits.form.bytes;
    while let Some(event) = parts.next(body).await? {
        let FormEvent::PartBegin(head) = event else { continue };
        count += 1;
        if count > limits.form.fields + limits.max_files {
            return Err(FormError::TooManyFields.into());
        }
        if head.filename.is_some() {
            if let Some(upload) = read_file(&mut parts, body, *head, limits, form.files.len()).await? {
                form.files.push(upload);
            }
            continue;
        }
        let mut text = Vec::new();
        text_left = text_left.checked_sub(head.name.len()).ok_or(FormError::TooLarge)?;
        while let Some(FormEvent::Data(bytes)) = parts.next(body).await? {
            text_left = text_left.checked_sub(bytes.len()).ok_or(FormError::TooLarge)?;
            text.extend_from_slice(&bytes);
        }
        form.fields.insert(&head.name, text, &limits.form)?;
    }
    Ok(())
}

/// Reads the content of a file up to the end of its part. `None` for a file field that was left empty.
async fn read_file(
    parts: &mut PartReader,
    body: &Body,
    head: PartHead,
    limits: &UploadLimits,
    before: usize,
) -> Result<Option<Upload>, FormReadError> {
    let mut storage = if before < limits.max_files { Ok(Storage::default()) } else { Err(UploadError::TooMany) };
    let mut size = 0;
    while let Some(FormEvent::Data(bytes)) = parts.next(body).await? {
        size += bytes.len() as u64;
        if size > limits.max_file && storage.is_ok() {
            storage = Err(UploadError::TooLarge(limits.max_file));
        }
        if let Ok(open) = storage {
            storage = open.add(&bytes, limits).await;
        }
    }
    let filename = head.filename.unwrap_or_default();
    if filename.is_empty() && size == 0 {
        return Ok(None);
    }
    let content = match storage {
        Ok(open) => open.finish().await,
        Err(error) => Err(error),
    };
    Ok(Some(Upload { name: head.name, filename, content_type: head.content_type, size, content }))
}

/// Where a file's content goes while it arrives.
#[derive(Default)]
struct Storage {
    /// What is not written yet; everything, as long as there is no file.
    pending: Vec<u8>,
    file: Option<TemporaryFile>,
}

impl Storage {
    async fn add(mut self, bytes: &Bytes, limits: &UploadLimits) -> Result<Self, UploadError> {
        self.pending.extend_from_slice(bytes);
        let bound = if self.file.is_some() { BATCH } else { limits.memory };
        if self.pending.len() > bound { self.write(Some(limits.directory.clone())).await } else { Ok(self) }
    }

    async fn finish(self) -> Result<UploadContent, UploadError> {
        if self.file.is_none() {
            return Ok(UploadContent::Memory(self.pending));
        }
        match self.write(None).await?.file {
            Some(file) => Ok(UploadContent::File(file)),
            None => Err(UploadError::Failed("it is gone".to_owned())),
        }
    }

    /// Writes what is pending in the thread pool, to a file that is made in `directory` if there is none yet.
    async fn write(self, directory: Option<PathBuf>) -> Result<Self, UploadError> {
        let Self { mut pending, file } = self;
        let written = blocking::unblock(move || {
            let mut file = match (file, directory) {
                (Some(file), _) => file,
                (None, Some(directory)) => TemporaryFile::create(&directory)?,
                (None, None) => return Err(io::ErrorKind::NotFound.into()),
            };
            file.write(&pending)?;
            pending.clear();
            Ok(Self { pending, file: Some(file) })
        });
        written.await.map_err(|error: io::Error| UploadError::Failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
