//! Forms and uploads of a request, read whole before a handler or part by part by it.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use mlua::{Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::connection::reason;
use super::context::AppContext;
use super::iteration;
use super::request::{ActiveRequests, ScriptRequest, find, form_map};
use super::upload::UploadFile;
use crate::codec::http::RequestHead;
use crate::request::form::multipart::PartHead;
use crate::request::form::parts::{FormEvent, PartReader};
use crate::request::form::{FormMap, FormReadError, Upload, read_form};
use crate::request::{Body, BodyError, Recording};

/// What is recorded of a body beside the form that it may turn out not to be: the piece that went too far.
const BEYOND: usize = 128 << 10;

/// A form that was read.
pub(super) struct ReadForm {
    pub fields: FormMap,
    pub files: Vec<Rc<Upload>>,
}

/// How far the form of a request has come.
#[derive(Default)]
pub(super) enum FormState {
    /// Nobody has asked for it, or there is none.
    #[default]
    Unread,
    /// It is here.
    Read(ReadForm),
    /// It is none, or more than a form may hold; who looks at it is told.
    Refused(FormReadError),
}

/// Whether the body of this request is a form.
pub(super) fn is_form(head: &RequestHead) -> bool {
    let Some(kind) = head.fields.get("content-type") else { return false };
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") || kind.eq_ignore_ascii_case(b"multipart/form-data")
}

/// Reads the form of a request, uploads into temporary files. A second call does nothing. A form that is refused is remembered as that, and
/// its body is there as it came, as long as no more was read of it than fields may take.
///
/// # Errors
/// The request itself is broken: its body will not come.
pub(super) async fn read(request: &ScriptRequest) -> Result<(), BodyError> {
    if !matches!(*request.rare().form.borrow(), FormState::Unread) || !is_form(&request.head) {
        return Ok(());
    }
    let recording = Recording::new(request.body(), request.uploads.form.bytes + BEYOND);
    match read_form(&recording.body(), request.head.fields.get("content-type"), &request.uploads).await {
        Ok(form) => {
            let form = ReadForm { fields: form.fields, files: form.files.into_iter().map(Rc::new).collect() };
            request.rare().form.replace(FormState::Read(form));
            Ok(())
        }
        Err(FormReadError::Body(error @ (BodyError::TimedOut | BodyError::Malformed(_) | BodyError::Gone))) => Err(error),
        Err(refused) => {
            request.rare().form.replace(FormState::Refused(refused));
            request.set_body(recording.rewound());
            Ok(())
        }
    }
}

/// The form that was read, if there is one; raises when it was refused or is not read yet.
fn form_of<T>(request: &ScriptRequest, take: impl FnOnce(Option<&ReadForm>) -> mlua::Result<T>) -> mlua::Result<T> {
    match &*request.rare().form.borrow() {
        FormState::Read(form) => take(Some(form)),
        FormState::Refused(error) => Err(mlua::Error::external(error.clone())),
        FormState::Unread if request.body().is_empty() || !is_form(&request.head) => take(None),
        FormState::Unread => {
            Err(mlua::Error::runtime("the form has not been read: this path is in app.stream, so call req:read_form() or use req:parts()"))
        }
    }
}

/// `req.form`: the fields.
pub(super) fn fields_table(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    form_of(request, |form| form.map_or_else(|| lua.create_table().map(Value::Table), |form| form_map(lua, &form.fields)))
}

/// The parts of a form while they arrive.
struct PartStream {
    reader: PartReader,
    body: Body,
    /// Whether a part has begun and not ended.
    inside: bool,
}

impl PartStream {
    async fn next_part(&mut self) -> Result<Option<Box<PartHead>>, FormReadError> {
        while self.next_data().await?.is_some() {}
        match self.reader.next(&self.body).await? {
            Some(FormEvent::PartBegin(part)) => {
                self.inside = true;
                Ok(Some(part))
            }
            _ => Ok(None),
        }
    }

    /// The next piece of the current part's content; `None` at its end.
    async fn next_data(&mut self) -> Result<Option<Bytes>, FormReadError> {
        if !self.inside {
            return Ok(None);
        }
        match self.reader.next(&self.body).await? {
            Some(FormEvent::Data(data)) => Ok(Some(data)),
            _ => {
                self.inside = false;
                Ok(None)
            }
        }
    }
}

/// `req.files`: an upload a name, or a list of them for names that end in `[]`.
pub(super) fn files_table(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    form_of(request, |form| files_of(lua, form.map_or(&[], |form| &form.files)).map(Value::Table))
}

fn files_of(lua: &Lua, files: &[Rc<Upload>]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for upload in files {
        let name = upload.name.as_slice();
        let file = UploadFile::new(upload);
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
    Ok(table)
}

/// Adds `read_form` and `parts` to the methods of requests.
pub(super) fn install(lua: &Lua, table: &Table, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let requests = active.clone();
    table.raw_set(
        "read_form",
        lua.create_async_function(move |lua, req: Table| {
            let request = find(&requests, &req);
            async move {
                let request = request?;
                read(&request).await.map_err(mlua::Error::external)?;
                fields_table(&lua, &request)
            }
        })?,
    )?;
    let (context, requests) = (app.clone(), active.clone());
    table.raw_set(
        "parts",
        lua.create_function(move |lua, req: Table| {
            let request = find(&requests, &req)?;
            let reader = PartReader::new(request.head.fields.get("content-type").unwrap_or_default()).map_err(mlua::Error::external)?;
            let reader = reader.ok_or_else(|| mlua::Error::runtime("the request is no multipart/form-data"))?;
            let most = request.uploads.max_file;
            parts_iterator(lua, &context, PartStream { reader, body: request.body(), inside: false }, most)
        })?,
    )
}

/// A stream of parts that at most one coroutine reads at a time.
type Shared = Rc<RefCell<Option<PartStream>>>;

fn parts_iterator(lua: &Lua, app: &Rc<AppContext>, stream: PartStream, most: u64) -> mlua::Result<mlua::Function> {
    let shared: Shared = Rc::new(RefCell::new(Some(stream)));
    let count = Rc::new(Cell::new(0));
    let app = app.clone();
    iteration::function(lua, move |_| {
        let (shared, count, app) = (shared.clone(), count.clone(), app.clone());
        async move {
            let mut stream = take(&shared)?;
            let part = stream.next_part().await.map_err(mlua::Error::external)?;
            shared.replace(Some(stream));
            count.set(count.get() + 1);
            Ok(part.map(|head| Part { head, shared: shared.clone(), app, most, count: count.clone(), number: count.get() }))
        }
    })
}

fn take(shared: &Shared) -> mlua::Result<PartStream> {
    shared.take().ok_or_else(|| mlua::Error::runtime("another coroutine reads this form, or reading it has failed"))
}

/// One part, readable until the next is asked for.
struct Part {
    head: Box<PartHead>,
    shared: Shared,
    app: Rc<AppContext>,
    /// The largest file, in bytes.
    most: u64,
    count: Rc<Cell<u64>>,
    number: u64,
}

impl Part {
    async fn data(shared: Shared, current: bool) -> mlua::Result<Option<Bytes>> {
        if !current {
            return Err(mlua::Error::runtime("this part is over: the next one has been asked for"));
        }
        let mut stream = take(&shared)?;
        let data = stream.next_data().await.map_err(mlua::Error::external)?;
        shared.replace(Some(stream));
        Ok(data)
    }

    fn is_current(&self) -> bool {
        self.count.get() == self.number
    }
}

/// A file that is being written. Half a file is removed, however its writing ends.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // The disk may be slow; who uploads is not told of what cannot be removed any more.
            blocking::unblock(move || std::fs::remove_file(path)).detach();
        }
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
                    return Err(mlua::Error::runtime(format!("the part is larger than {} bytes (limits.body)", this.app.limits.body)));
                }
            }
            lua.create_string(whole)
        });
        methods.add_method("chunks", |lua, this, ()| {
            let (shared, count, number) = (this.shared.clone(), this.count.clone(), this.number);
            iteration::function(lua, move |lua| {
                let data = Part::data(shared.clone(), count.get() == number);
                async move { data.await?.map(|data| lua.create_string(data)).transpose() }
            })
        });
        methods.add_async_method("save", |_, this, path: String| async move {
            let path: PathBuf = this.app.writable(&path).map_err(mlua::Error::runtime)?;
            let shown = path.display().to_string();
            let fail = |error: std::io::Error| mlua::Error::runtime(format!("upload: {shown}: {}", reason(&error)));
            let place = path.clone();
            let mut file = blocking::unblock(move || std::fs::File::create(place)).await.map_err(fail)?;
            let mut unfinished = Unfinished(Some(path));
            let mut size = 0;
            while let Some(data) = Part::data(this.shared.clone(), this.is_current()).await? {
                size += data.len() as u64;
                if size > this.most {
                    return Err(mlua::Error::runtime(format!("the part is larger than {} bytes (max_file of the server)", this.most)));
                }
                let written = blocking::unblock(move || file.write_all(&data).map(|()| file));
                file = written.await.map_err(fail)?;
            }
            unfinished.0 = None;
            Ok(size)
        });
    }
}
