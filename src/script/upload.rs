//! An uploaded file as scripts have it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use mlua::{UserData, UserDataFields, UserDataMethods};

use super::connection::reason;
use super::context::AppContext;
use crate::request::form::{Upload, UploadContent};

/// One file of a form. The content goes with the request, whenever the VM finds that nobody has this any more.
pub(super) struct UploadFile {
    name: Vec<u8>,
    filename: Vec<u8>,
    content_type: Option<Vec<u8>>,
    size: u64,
    error: Option<String>,
    upload: Weak<Upload>,
}

/// What can be taken to another thread.
enum Content {
    Bytes(Vec<u8>),
    File(File, u64),
}

impl UploadFile {
    pub(super) fn new(upload: &Rc<Upload>) -> Self {
        Self {
            name: upload.name.clone(),
            filename: upload.filename.clone(),
            content_type: upload.content_type.clone(),
            size: upload.size,
            error: upload.content.as_ref().err().map(ToString::to_string),
            upload: Rc::downgrade(upload),
        }
    }

    fn content(&self) -> mlua::Result<Content> {
        let failed = |why: &str| mlua::Error::runtime(format!("upload {}: {why}", String::from_utf8_lossy(&self.name)));
        let upload = self.upload.upgrade().ok_or_else(|| failed("it has gone with its request"))?;
        match &upload.content {
            Ok(UploadContent::Memory(bytes)) => Ok(Content::Bytes(bytes.clone())),
            Ok(UploadContent::File(file)) => file.file().map(|file| Content::File(file, self.size)).map_err(|error| fail(&error)),
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

fn fail(error: &io::Error) -> mlua::Error {
    mlua::Error::runtime(format!("upload: {}", reason(error)))
}

fn whole(content: Content) -> io::Result<Vec<u8>> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::File(file, size) => {
            let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        }
    }
}

fn copy(content: &Content, path: PathBuf) -> io::Result<()> {
    let target = File::create(path)?;
    match content {
        Content::Bytes(bytes) => target.write_all_at(bytes, 0),
        Content::File(file, size) => {
            let mut buffer = vec![0; 256 << 10];
            let mut done = 0;
            while done < *size {
                let read = file.read_at(&mut buffer, done)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                target.write_all_at(&buffer[..read], done)?;
                done += read as u64;
            }
            Ok(())
        }
    }
}

impl UserData for UploadFile {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |lua, this| lua.create_string(&this.name));
        fields.add_field_method_get("filename", |lua, this| lua.create_string(&this.filename));
        fields.add_field_method_get("type", |lua, this| this.content_type.as_ref().map(|kind| lua.create_string(kind)).transpose());
        fields.add_field_method_get("size", |_, this| Ok(this.size));
        fields.add_field_method_get("error", |_, this| Ok(this.error.clone()));
        fields.add_field_method_get("path", |_, this| match this.upload.upgrade().as_ref().map(|upload| &upload.content) {
            Some(Ok(UploadContent::File(file))) => Ok(Some(file.path().to_string_lossy().into_owned())),
            _ => Ok(None),
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("read", |lua, this, ()| async move {
            let content = this.content()?;
            lua.create_string(blocking::unblock(move || whole(content)).await.map_err(|error| fail(&error))?)
        });
        methods.add_async_method("save", |lua, this, path: String| async move {
            let app = lua.app_data_ref::<Rc<AppContext>>().map(|app| app.clone());
            let app = app.ok_or_else(|| mlua::Error::runtime("upload: no application"))?;
            let path = app.writable(&path).map_err(mlua::Error::runtime)?;
            let content = this.content()?;
            blocking::unblock(move || copy(&content, path)).await.map_err(|error| fail(&error))
        });
    }
}
