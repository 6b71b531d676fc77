//! Forms and uploads of a request, read whole before a handler or part by part by it.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use mlua::{Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::context::AppContext;
use super::request::{ActiveRequests, ScriptRequest, find, form_map};
use super::upload::{Upload, UploadFile};
use crate::codec::http::RequestHead;
use crate::request::Body;
use crate::request::form::multipart::{self, MultipartError, MultipartEvent, MultipartParser, PartHead};
use crate::request::form::{FormLimits, FormMap, parse_urlencoded};

/// The most files of one form.
const MAX_FILES: usize = 256;

/// A form that was read.
#[derive(Default)]
pub(super) struct ReadForm {
    pub fields: FormMap,
    pub files: Vec<Rc<Upload>>,
}

/// Why a form could not be read, with the status for the client.
#[derive(Debug)]
pub(super) struct FormFailure {
    pub status: u16,
    pub what: String,
}

impl FormFailure {
    fn new(status: u16, what: impl std::fmt::Display) -> FormFailure {
        FormFailure { status, what: what.to_string() }
    }
}

impl From<MultipartError> for FormFailure {
    fn from(error: MultipartError) -> FormFailure {
        FormFailure::new(error.status(), error)
    }
}

impl From<crate::request::BodyError> for FormFailure {
    fn from(error: crate::request::BodyError) -> FormFailure {
        FormFailure::new(error.status(), error)
    }
}

/// Whether the body of this request is a form.
pub(super) fn is_form(head: &RequestHead) -> bool {
    let Some(kind) = head.fields.get("content-type") else { return false };
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") || kind.eq_ignore_ascii_case(b"multipart/form-data")
}

/// Reads the form of a request, uploads into temporary files. A second call does nothing.
pub(super) async fn read(app: &AppContext, request: &ScriptRequest) -> Result<(), FormFailure> {
    if request.form.borrow().is_some() || !is_form(&request.head) {
        return Ok(());
    }
    let form = match multipart::boundary(request.head.fields.get("content-type").unwrap_or_default())? {
        Some(boundary) => read_multipart(app, MultipartStream::new(&boundary, request.body.clone())).await?,
        None => {
            let limits = FormLimits::default();
            let bytes = request.body.bytes(limits.bytes as u64).await?;
            let mut fields = FormMap::new();
            parse_urlencoded(&bytes, &limits, &mut fields).map_err(|error| FormFailure::new(error.status(), error))?;
            ReadForm { fields, files: Vec::new() }
        }
    };
    request.form.replace(Some(form));
    Ok(())
}

async fn read_multipart(app: &AppContext, mut stream: MultipartStream) -> Result<ReadForm, FormFailure> {
    let limits = FormLimits::default();
    let mut form = ReadForm::default();
    let mut left = limits.bytes;
    while let Some(part) = stream.next_part().await? {
        if part.filename.is_some() {
            if form.files.len() == MAX_FILES {
                return Err(FormFailure::new(413, format_args!("the form has more than {MAX_FILES} files")));
            }
            form.files.push(Rc::new(read_upload(app, &mut stream, *part).await?));
            continue;
        }
        let mut value = Vec::new();
        while let Some(data) = stream.next_data().await? {
            left = left.checked_sub(data.len()).ok_or_else(|| FormFailure::new(413, "the form is too large"))?;
            value.extend_from_slice(&data);
        }
        if form.fields.len() >= limits.fields {
            return Err(FormFailure::new(413, "the form has too many fields"));
        }
        form.fields.insert(&part.name, value, &limits).map_err(|error| FormFailure::new(error.status(), error))?;
    }
    Ok(form)
}

async fn read_upload(app: &AppContext, stream: &mut MultipartStream, part: PartHead) -> Result<Upload, FormFailure> {
    let mut upload = Upload::new(part, app.limits.upload);
    while let Some(data) = stream.next_data().await? {
        upload.write(&data).await;
    }
    upload.finish().await;
    Ok(upload)
}

/// The parts of a `multipart/form-data` body as they arrive.
pub(super) struct MultipartStream {
    parser: MultipartParser,
    buffer: BytesMut,
    body: Body,
    inside: bool,
}

impl MultipartStream {
    fn new(boundary: &[u8], body: Body) -> MultipartStream {
        MultipartStream { parser: MultipartParser::new(boundary), buffer: BytesMut::new(), body, inside: false }
    }

    async fn next_part(&mut self) -> Result<Option<Box<PartHead>>, FormFailure> {
        while self.next_data().await?.is_some() {}
        match self.next_event().await? {
            Some(Piece::Part(part)) => {
                self.inside = true;
                Ok(Some(part))
            }
            _ => Ok(None),
        }
    }

    /// The next piece of the current part's content; `None` at its end.
    async fn next_data(&mut self) -> Result<Option<Bytes>, FormFailure> {
        if !self.inside {
            return Ok(None);
        }
        match self.next_event().await? {
            Some(Piece::Data(data)) => Ok(Some(data)),
            _ => {
                self.inside = false;
                Ok(None)
            }
        }
    }

    async fn next_event(&mut self) -> Result<Option<Piece>, FormFailure> {
        loop {
            let step = self.parser.step(&self.buffer)?;
            let piece = match step.event {
                MultipartEvent::NeedMore => {
                    self.buffer.advance(step.consumed);
                    match self.body.chunk().await? {
                        Some(chunk) => self.buffer.extend_from_slice(&chunk),
                        None => return Err(MultipartError::Truncated.into()),
                    }
                    continue;
                }
                MultipartEvent::PartBegin(part) => Piece::Part(part),
                MultipartEvent::Data(range) => Piece::Data(Bytes::copy_from_slice(&self.buffer[range])),
                MultipartEvent::PartEnd => Piece::End,
                MultipartEvent::End => return Ok(None),
            };
            self.buffer.advance(step.consumed);
            return Ok(Some(piece));
        }
    }
}

enum Piece {
    Part(Box<PartHead>),
    Data(Bytes),
    End,
}

/// `req.files`: an upload a name, or a list of them for names that end in `[]`.
pub(super) fn files_table(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    let form = request.form.borrow();
    for upload in form.iter().flat_map(|form| &form.files) {
        let name = upload.name();
        let file = UploadFile::new(upload.clone());
        match name.strip_suffix(b"[]") {
            Some(base) => {
                let base = lua.create_string(base)?;
                let list = match table.raw_get::<Option<Table>>(&base)? {
                    Some(list) => list,
                    None => {
                        let list = lua.create_table()?;
                        table.raw_set(&base, &list)?;
                        list
                    }
                };
                list.raw_push(file)?;
            }
            None => table.raw_set(lua.create_string(name)?, file)?,
        }
    }
    Ok(Value::Table(table))
}

/// Adds `read_form` and `parts` to the methods of requests.
pub(super) fn install(lua: &Lua, table: &Table, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let (context, requests) = (app.clone(), active.clone());
    table.raw_set(
        "read_form",
        lua.create_async_function(move |lua, req: Table| {
            let (context, request) = (context.clone(), find(&requests, &req));
            async move {
                let request = request?;
                read(&context, &request).await.map_err(|failure| mlua::Error::runtime(failure.what))?;
                let form = request.form.borrow();
                form.as_ref().map_or_else(|| lua.create_table().map(Value::Table), |form| form_map(&lua, &form.fields))
            }
        })?,
    )?;
    let (context, requests) = (app.clone(), active.clone());
    table.raw_set(
        "parts",
        lua.create_function(move |lua, req: Table| {
            let request = find(&requests, &req)?;
            let kind = request.head.fields.get("content-type").unwrap_or_default();
            let boundary = multipart::boundary(kind).map_err(mlua::Error::external)?;
            let boundary = boundary.ok_or_else(|| mlua::Error::runtime("the request is no multipart/form-data"))?;
            parts_iterator(lua, &context, MultipartStream::new(&boundary, request.body.clone()))
        })?,
    )
}

/// A stream of parts that at most one coroutine reads at a time.
type Shared = Rc<RefCell<Option<MultipartStream>>>;

fn parts_iterator(lua: &Lua, app: &Rc<AppContext>, stream: MultipartStream) -> mlua::Result<mlua::Function> {
    let shared: Shared = Rc::new(RefCell::new(Some(stream)));
    let count = Rc::new(Cell::new(0));
    let app = app.clone();
    lua.create_async_function(move |_, _: mlua::MultiValue| {
        let (shared, count, app) = (shared.clone(), count.clone(), app.clone());
        async move {
            let mut stream = take(&shared)?;
            let part = stream.next_part().await.map_err(|failure| mlua::Error::runtime(failure.what))?;
            shared.replace(Some(stream));
            count.set(count.get() + 1);
            Ok(part.map(|head| Part { head, shared: shared.clone(), app, count: count.clone(), number: count.get() }))
        }
    })
}

fn take(shared: &Shared) -> mlua::Result<MultipartStream> {
    shared.take().ok_or_else(|| mlua::Error::runtime("another coroutine reads this form, or reading it has failed"))
}

/// One part, readable until the next is asked for.
struct Part {
    head: Box<PartHead>,
    shared: Shared,
    app: Rc<AppContext>,
    count: Rc<Cell<u64>>,
    number: u64,
}

impl Part {
    async fn data(shared: Shared, current: bool) -> mlua::Result<Option<Bytes>> {
        if !current {
            return Err(mlua::Error::runtime("this part is over: the next one has been asked for"));
        }
        let mut stream = take(&shared)?;
        let data = stream.next_data().await.map_err(|failure| mlua::Error::runtime(failure.what))?;
        shared.replace(Some(stream));
        Ok(data)
    }

    fn is_current(&self) -> bool {
        self.count.get() == self.number
    }
}

impl UserData for Part {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |lua, this| lua.create_string(&this.head.name));
        fields.add_field_method_get("filename", |lua, this| this.head.filename.as_ref().map(|name| lua.create_string(name)).transpose());
        fields.add_field_method_get("type", |lua, this| this.head.content_type.as_ref().map(|kind| lua.create_string(kind)).transpose());
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("read", |lua, this, ()| async move {
            let mut whole = Vec::new();
            while let Some(data) = Part::data(this.shared.clone(), this.is_current()).await? {
                whole.extend_from_slice(&data);
                if whole.len() > this.app.limits.body {
                    return Err(mlua::Error::runtime(format!("the part is larger than {} bytes", this.app.limits.body)));
                }
            }
            lua.create_string(whole)
        });
        methods.add_method("chunks", |lua, this, ()| {
            let (shared, count, number) = (this.shared.clone(), this.count.clone(), this.number);
            lua.create_async_function(move |lua, _: mlua::MultiValue| {
                let data = Part::data(shared.clone(), count.get() == number);
                async move { data.await?.map(|data| lua.create_string(data)).transpose() }
            })
        });
        methods.add_async_method("save", |_, this, path: String| async move {
            let path: PathBuf = this.app.writable(&path).map_err(mlua::Error::runtime)?;
            let mut upload = Upload::new((*this.head).clone(), this.app.limits.upload);
            while let Some(data) = Part::data(this.shared.clone(), this.is_current()).await? {
                upload.write(&data).await;
            }
            upload.finish().await;
            upload.save(path).await?;
            Ok(upload.size())
        });
    }
}
