//! An uploaded file as scripts have it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

use mlua::{UserData, UserDataFields, UserDataMethods};

use super::connection::reason;
use super::context::AppContext;
use crate::request::form::{Upload, UploadContent};

/// One file of a form.
pub(super) struct UploadFile(pub(super) Rc<Upload>);

/// What can be taken to another thread.
enum Content {
    Bytes(Vec<u8>),
    File(File, u64),
}

impl UploadFile {
    fn content(&self) -> mlua::Result<Content> {
        match &self.0.content {
            Ok(UploadContent::Memory(bytes)) => Ok(Content::Bytes(bytes.clone())),
            Ok(UploadContent::File(file)) => file.file().map(|file| Content::File(file, self.0.size)).map_err(|error| fail(&error)),
            Err(error) => Err(mlua::Error::runtime(format!("upload {}: {error}", String::from_utf8_lossy(&self.0.name)))),
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
        fields.add_field_method_get("name", |lua, this| lua.create_string(&this.0.name));
        fields.add_field_method_get("filename", |lua, this| lua.create_string(&this.0.filename));
        fields.add_field_method_get("type", |lua, this| this.0.content_type.as_ref().map(|kind| lua.create_string(kind)).transpose());
        fields.add_field_method_get("size", |_, this| Ok(this.0.size));
        fields.add_field_method_get("error", |_, this| Ok(this.0.content.as_ref().err().map(ToString::to_string)));
        fields.add_field_method_get("path", |_, this| match &this.0.content {
            Ok(UploadContent::File(file)) => Ok(Some(file.path().to_string_lossy().into_owned())),
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
