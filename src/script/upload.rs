//! An uploaded file: in memory while it is small, then in a temporary file that goes with the request.

use std::cell::RefCell;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::rc::Rc;

use mlua::{UserData, UserDataFields, UserDataMethods};
use tempfile::NamedTempFile;

use crate::request::form::multipart::PartHead;

/// Up to this size an upload stays in memory, and this much is written to disk at once.
const IN_MEMORY: usize = 64 << 10;

/// One file of a form.
pub(super) struct Upload {
    part: PartHead,
    limit: u64,
    size: u64,
    error: Option<String>,
    content: RefCell<Content>,
}

#[derive(Default)]
struct Content {
    /// What is not in the file yet.
    bytes: Vec<u8>,
    file: Option<NamedTempFile>,
}

impl Upload {
    pub(super) fn new(part: PartHead, limit: u64) -> Upload {
        Upload { part, limit, size: 0, error: None, content: RefCell::default() }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.part.name
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a piece. What goes wrong is this file's error; the rest of the form goes on.
    pub(super) async fn write(&mut self, data: &[u8]) {
        if self.error.is_some() {
            return;
        }
        self.size += data.len() as u64;
        if self.size > self.limit {
            self.fail(format!("larger than {} bytes", self.limit));
            return;
        }
        let content = self.content.get_mut();
        content.bytes.extend_from_slice(data);
        if content.bytes.len() > IN_MEMORY {
            self.spill().await;
        }
    }

    /// The content is complete.
    pub(super) async fn finish(&mut self) {
        let content = self.content.get_mut();
        if content.file.is_some() && !content.bytes.is_empty() {
            self.spill().await;
        }
    }

    async fn spill(&mut self) {
        let content = std::mem::take(self.content.get_mut());
        match blocking::unblock(move || spilled(content)).await {
            Ok(content) => *self.content.get_mut() = content,
            Err(error) => self.fail(format!("cannot be kept in a temporary file: {error}")),
        }
    }

    fn fail(&mut self, error: String) {
        self.content.take();
        self.error = Some(error);
    }

    fn checked(&self) -> mlua::Result<()> {
        match &self.error {
            None => Ok(()),
            Some(error) => Err(mlua::Error::runtime(format!("upload {}: {error}", String::from_utf8_lossy(self.name())))),
        }
    }

    /// Copies the content to a file, replacing one that is there.
    pub(super) async fn save(&self, path: PathBuf) -> mlua::Result<()> {
        self.checked()?;
        let copy = self.copy()?;
        let shown = path.display().to_string();
        let saved = blocking::unblock(move || {
            let mut target = std::fs::File::create(path)?;
            match copy {
                Copy::Bytes(bytes) => target.write_all(&bytes),
                Copy::File(mut file) => {
                    file.rewind()?;
                    std::io::copy(&mut file, &mut target).map(|_| ())
                }
            }
        });
        saved.await.map_err(|error| mlua::Error::runtime(format!("upload: {shown}: {error}")))
    }

    async fn read(&self) -> mlua::Result<Vec<u8>> {
        self.checked()?;
        match self.copy()? {
            Copy::Bytes(bytes) => Ok(bytes),
            Copy::File(mut file) => {
                let read = blocking::unblock(move || {
                    let mut bytes = Vec::new();
                    file.rewind()?;
                    file.read_to_end(&mut bytes).map(|_| bytes)
                });
                read.await.map_err(|error| mlua::Error::runtime(format!("upload: {error}")))
            }
        }
    }

    fn copy(&self) -> mlua::Result<Copy> {
        let content = self.content.borrow();
        match &content.file {
            None => Ok(Copy::Bytes(content.bytes.clone())),
            Some(file) => file.reopen().map(Copy::File).map_err(|error| mlua::Error::runtime(format!("upload: {error}"))),
        }
    }

    /// The path of the temporary file, which is made now if the content is still in memory.
    fn path(&self) -> mlua::Result<Option<String>> {
        if self.error.is_some() {
            return Ok(None);
        }
        let mut content = self.content.borrow_mut();
        if content.file.is_none() {
            let made = spilled(std::mem::take(&mut *content)).map_err(|error| mlua::Error::runtime(format!("upload: {error}")))?;
            *content = made;
        }
        Ok(content.file.as_ref().map(|file| file.path().to_string_lossy().into_owned()))
    }
}

enum Copy {
    Bytes(Vec<u8>),
    File(std::fs::File),
}

fn spilled(mut content: Content) -> std::io::Result<Content> {
    let file = match &mut content.file {
        Some(file) => file,
        None => content.file.insert(NamedTempFile::with_prefix("skep-upload-")?),
    };
    file.write_all(&content.bytes)?;
    content.bytes.clear();
    Ok(content)
}

/// The upload as scripts have it.
pub(super) struct UploadFile(Rc<Upload>);

impl UploadFile {
    pub(super) fn new(upload: Rc<Upload>) -> UploadFile {
        UploadFile(upload)
    }
}

impl UserData for UploadFile {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |lua, this| lua.create_string(this.0.name()));
        fields.add_field_method_get("filename", |lua, this| this.0.part.filename.as_ref().map(|name| lua.create_string(name)).transpose());
        fields.add_field_method_get("type", |lua, this| this.0.part.content_type.as_ref().map(|kind| lua.create_string(kind)).transpose());
        fields.add_field_method_get("size", |_, this| Ok(this.0.size));
        fields.add_field_method_get("error", |_, this| Ok(this.0.error.clone()));
        fields.add_field_method_get("path", |_, this| this.0.path());
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("read", |lua, this, ()| async move { lua.create_string(this.0.read().await?) });
        methods.add_async_method("save", |lua, this, path: String| async move {
            let app = lua.app_data_ref::<Rc<super::context::AppContext>>().map(|app| app.clone());
            let app = app.ok_or_else(|| mlua::Error::runtime("upload: no application"))?;
            let path = app.writable(&path).map_err(mlua::Error::runtime)?;
            this.0.save(path).await
        });
    }
}
