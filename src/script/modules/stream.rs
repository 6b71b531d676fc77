//! `@skep/stream`: files, pipes, descriptors.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use bytes::BytesMut;
use mlua::{Lua, LuaString, Table, UserData, UserDataMethods, Value, Variadic};
use nix::fcntl::OFlag;

use super::AppContext;
use crate::reactor::Io;
use crate::script::arguments::Options;
use crate::script::connection::{Connection, ConnectionHandle, Pipe, reason};
use crate::script::gauge::Permit;
use crate::script::iteration;

/// The most that is read at once if nothing else is said.
const MAX_READ: usize = 16 << 20;
/// How much a file is read ahead.
const PIECE: usize = 64 << 10;
/// The longest line if nothing else is said.
const MAX_LINE: usize = 64 << 10;
/// The most entries of a directory.
const MAX_ENTRIES: usize = 100_000;

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    whole_files(lua, &module, app)?;
    directories(lua, &module, app)?;
    let context = app.clone();
    module.raw_set(
        "open",
        lua.create_async_function(move |lua, (path, mode): (String, Option<String>)| {
            let app = context.clone();
            async move { open_file(&lua, &app, &path, mode.as_deref().unwrap_or("r")).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set("pipe", lua.create_function(move |_, ()| pipe(&context))?)?;
    let context = app.clone();
    module.raw_set("descriptor", lua.create_function(move |_, number: i32| descriptor(&context, number))?)?;
    Ok(module)
}

fn fail(path: &str, error: &io::Error) -> mlua::Error {
    mlua::Error::runtime(format!("stream: {} ({path})", reason(error)))
}

fn forbidden(what: String) -> mlua::Error {
    mlua::Error::runtime(format!("stream: {what}"))
}

/// Does something with files in the background.
async fn background<T: Send + 'static>(path: &str, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> mlua::Result<T> {
    blocking::unblock(work).await.map_err(|error| fail(path, &error))
}

fn whole_files(lua: &Lua, module: &Table, app: &Rc<AppContext>) -> mlua::Result<()> {
    let context = app.clone();
    module.raw_set(
        "read_file",
        lua.create_async_function(move |lua, (path, options): (String, Options)| {
            let real = context.readable(&path).map_err(forbidden);
            async move {
                options.only(&["max"])?;
                let (real, most) = (real?, options.size(&lua, "max", MAX_READ)?);
                let bytes = background(&path, move || read_bounded(&real, most)).await?;
                lua.create_string(bytes)
            }
        })?,
    )?;
    for (name, append) in [("write_file", false), ("append_file", true)] {
        let context = app.clone();
        let function = lua.create_async_function(move |_, (path, data): (String, LuaString)| {
            let real = context.writable(&path).map_err(forbidden);
            let data = data.as_bytes().to_vec();
            async move {
                let real = real?;
                background(&path, move || if append { append_to(&real, &data) } else { replace(&real, &data) }).await
            }
        })?;
        module.raw_set(name, function)?;
    }
    Ok(())
}

fn read_bounded(path: &PathBuf, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(io::Error::other(format!("larger than {most} bytes"))) } else { Ok(bytes) }
}

fn append_to(path: &PathBuf, data: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(data)
}

/// Whoever reads meanwhile sees the old content or the new one, never a part.
fn replace(path: &PathBuf, data: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut file = tempfile::Builder::new().prefix(".skep-").permissions(permissions(path)).tempfile_in(directory)?;
    file.write_all(data)?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// Those of the file that is replaced, else the usual ones.
fn permissions(path: &PathBuf) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).map_or_else(|_| fs::Permissions::from_mode(0o644), |metadata| metadata.permissions())
}

fn directories(lua: &Lua, module: &Table, app: &Rc<AppContext>) -> mlua::Result<()> {
    let context = app.clone();
    module.raw_set(
        "stat",
        lua.create_async_function(move |lua, path: String| {
            let real = context.readable(&path);
            async move {
                let Ok(real) = real else { return Ok(Value::Nil) };
                match blocking::unblock(move || fs::metadata(real)).await {
                    Ok(metadata) => stat(&lua, &metadata).map(Value::Table),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Nil),
                    Err(error) => Err(fail(&path, &error)),
                }
            }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "list",
        lua.create_async_function(move |_, path: String| {
            let real = context.readable(&path).map_err(forbidden);
            async move {
                let real = real?;
                background(&path, move || list(&real)).await
            }
        })?,
    )?;
    let remove = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    changing(lua, module, app, "remove", remove)?;
    changing(lua, module, app, "make_directory", fs::create_dir_all)?;
    let context = app.clone();
    module.raw_set(
        "rename",
        lua.create_async_function(move |_, (from, to): (String, String)| {
            let real = context.writable(&from).and_then(|from| Ok((from, context.writable(&to)?))).map_err(forbidden);
            async move {
                let (old, new) = real?;
                background(&from, move || fs::rename(old, new)).await
            }
        })?,
    )
}

fn changing(lua: &Lua, module: &Table, app: &Rc<AppContext>, name: &str, change: fn(PathBuf) -> io::Result<()>) -> mlua::Result<()> {
    let context = app.clone();
    module.raw_set(
        name,
        lua.create_async_function(move |_, path: String| {
            let real = context.writable(&path).map_err(forbidden);
            async move {
                let real = real?;
                background(&path, move || change(real)).await
            }
        })?,
    )
}

fn stat(lua: &Lua, metadata: &fs::Metadata) -> mlua::Result<Table> {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => "file",
        kind if kind.is_dir() => "directory",
        kind if kind.is_fifo() => "pipe",
        kind if kind.is_socket() => "socket",
        _ => "other",
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let table = lua.create_table()?;
    table.raw_set("kind", kind)?;
    table.raw_set("size", metadata.len())?;
    table.raw_set("modified", modified.map(|since| since.as_secs_f64()))?;
    Ok(table)
}

fn list(path: &PathBuf) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if names.len() == MAX_ENTRIES {
            return Err(io::Error::other(format!("more than {MAX_ENTRIES} entries")));
        }
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

async fn open_file(lua: &Lua, app: &AppContext, path: &str, mode: &str) -> mlua::Result<Value> {
    let mut how = OpenOptions::new();
    match mode {
        "r" => how.read(true),
        "w" => how.write(true).create(true).truncate(true),
        "a" => how.append(true).create(true),
        "r+" => how.read(true).write(true),
        "w+" => how.read(true).write(true).create(true).truncate(true),
        other => return Err(forbidden(format!("no mode named {other:?}: r, w, a, r+ or w+"))),
    };
    let real = if mode == "r" { app.readable(path) } else { app.writable(path) }.map_err(forbidden)?;
    let permit = app.sockets.take().map_err(|error| forbidden(error.to_string()))?;
    // A pipe would otherwise wait for its other end, and keep a thread for as long.
    how.custom_flags(OFlag::O_NONBLOCK.bits());
    let opened = background(path, move || {
        let file = how.open(real)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok((file, metadata.file_type().is_fifo() || metadata.file_type().is_char_device()))
    });
    let (file, is_pipe) = opened.await?;
    if is_pipe {
        let pipe = ends(file.into(), mode != "w" && mode != "a", mode != "r").map_err(|error| fail(path, &error))?;
        let connection = Connection::new("stream", path.to_owned(), Rc::new(pipe), Some(permit));
        return lua.create_userdata(ConnectionHandle(Rc::new(connection))).map(Value::UserData);
    }
    let state =
        FileState { file: RefCell::new(Some(file)), ahead: RefCell::default(), path: path.to_owned(), permit: RefCell::new(Some(permit)) };
    lua.create_userdata(FileHandle(Rc::new(state))).map(Value::UserData)
}

fn ends(fd: OwnedFd, reads: bool, writes: bool) -> io::Result<Pipe> {
    let other = if reads && writes { Some(fd.try_clone()?) } else { None };
    let (input, output) = match (reads, writes) {
        (true, _) => (Some(Io::new(fd)?), other.map(Io::new).transpose()?),
        _ => (None, Some(Io::new(fd)?)),
    };
    Ok(Pipe { input, output: RefCell::new(output.map(Rc::new)) })
}

fn pipe(app: &AppContext) -> mlua::Result<(ConnectionHandle, ConnectionHandle)> {
    let take = || app.sockets.take().map_err(|error| forbidden(error.to_string()));
    let permits = (take()?, take()?);
    let opened = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).map_err(io::Error::from);
    let both = opened.and_then(|(input, output)| Ok((ends(input, true, false)?, ends(output, false, true)?)));
    let (input, output) = both.map_err(|error| fail("pipe", &error))?;
    let connection = |pipe, permit| ConnectionHandle(Rc::new(Connection::new("stream", "pipe".to_owned(), Rc::new(pipe), Some(permit))));
    Ok((connection(input, permits.0), connection(output, permits.1)))
}

fn descriptor(app: &AppContext, number: i32) -> mlua::Result<ConnectionHandle> {
    let permit = app.sockets.take().map_err(|error| forbidden(error.to_string()))?;
    let shown = format!("descriptor {number}");
    // The copy shares its flags with the original, which stays as it is: a terminal or pipe is asked for readiness before every operation.
    let copied = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        2 => io::stderr().as_fd().try_clone_to_owned(),
        _ => return Err(forbidden("only the descriptors 0, 1 and 2 can be used".to_owned())),
    };
    let pipe = copied.and_then(|fd| ends(fd, number == 0, number != 0)).map_err(|error| fail(&shown, &error))?;
    Ok(ConnectionHandle(Rc::new(Connection::new("stream", shown, Rc::new(pipe), Some(permit)))))
}

struct FileState {
    /// `None` while something is done with it, and after it was closed.
    file: RefCell<Option<File>>,
    /// What was read and not asked for yet.
    ahead: RefCell<BytesMut>,
    path: String,
    permit: RefCell<Option<Permit>>,
}

struct FileHandle(Rc<FileState>);

impl FileState {
    /// Does something with the file in the background.
    async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static) -> mlua::Result<T> {
        let mut file =
            self.file.take().ok_or_else(|| fail(&self.path, &io::Error::other("the file is closed, or another coroutine uses it")))?;
        let (file, result) = blocking::unblock(move || {
            let result = work(&mut file);
            (file, result)
        })
        .await;
        if self.permit.borrow().is_some() {
            self.file.replace(Some(file));
        }
        result.map_err(|error| fail(&self.path, &error))
    }

    async fn fill(&self) -> mlua::Result<bool> {
        let bytes = self
            .with(|file| {
                let mut buffer = vec![0; PIECE];
                let read = file.read(&mut buffer)?;
                buffer.truncate(read);
                Ok(buffer)
            })
            .await?;
        self.ahead.borrow_mut().extend_from_slice(&bytes);
        Ok(!bytes.is_empty())
    }

    async fn read(&self, count: usize) -> mlua::Result<Option<BytesMut>> {
        if count > MAX_READ {
            return Err(fail(&self.path, &io::Error::other(format!("at most {MAX_READ} bytes can be read at once"))));
        }
        while self.ahead.borrow().len() < count && self.fill().await? {}
        let mut ahead = self.ahead.borrow_mut();
        let count = ahead.len().min(count);
        Ok((count > 0).then(|| ahead.split_to(count)))
    }

    async fn line(&self, most: usize) -> mlua::Result<Option<BytesMut>> {
        loop {
            let found = memchr::memchr(b'\n', &self.ahead.borrow());
            let length = found.unwrap_or(self.ahead.borrow().len());
            if length > most {
                return Err(fail(&self.path, &io::Error::other(format!("a line is longer than {most} bytes"))));
            }
            if let Some(end) = found {
                let mut line = self.ahead.borrow_mut().split_to(end + 1);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.truncate(end - 1);
                }
                return Ok(Some(line));
            }
            if !self.fill().await? {
                let rest = self.ahead.take();
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    /// Puts the file where the script believes it is, behind what was read ahead.
    async fn forget_ahead(&self) -> mlua::Result<()> {
        let ahead = self.ahead.take().len() as i64;
        if ahead > 0 {
            self.with(move |file| file.seek(SeekFrom::Current(-ahead))).await?;
        }
        Ok(())
    }
}

impl UserData for FileHandle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("read", |lua, this, count: Option<usize>| {
            let state = this.0.clone();
            async move { state.read(count.unwrap_or(PIECE)).await?.map(|bytes| lua.create_string(bytes)).transpose() }
        });
        methods.add_async_method("line", |lua, this, options: Options| {
            let state = this.0.clone();
            async move {
                options.only(&["max"])?;
                state.line(options.size(&lua, "max", MAX_LINE)?).await?.map(|bytes| lua.create_string(bytes)).transpose()
            }
        });
        methods.add_method("lines", |lua, this, options: Options| {
            options.only(&["max"])?;
            let (state, most) = (this.0.clone(), options.size(lua, "max", MAX_LINE)?);
            iteration::function(lua, move |lua| {
                let state = state.clone();
                async move { state.line(most).await?.map(|bytes| lua.create_string(bytes)).transpose() }
            })
        });
        methods.add_async_method("write", |_, this, parts: Variadic<LuaString>| {
            let state = this.0.clone();
            async move {
                let whole: Vec<u8> = parts.iter().flat_map(|part| part.as_bytes().to_vec()).collect();
                state.forget_ahead().await?;
                state.with(move |file| file.write_all(&whole)).await
            }
        });
        methods.add_async_method("seek", |_, this, (offset, from): (i64, Option<String>)| {
            let state = this.0.clone();
            async move {
                state.forget_ahead().await?;
                let to = match from.as_deref() {
                    None | Some("start") => {
                        SeekFrom::Start(u64::try_from(offset).map_err(|_| forbidden("a file has no negative places".to_owned()))?)
                    }
                    Some("current") => SeekFrom::Current(offset),
                    Some("end") => SeekFrom::End(offset),
                    Some(other) => return Err(forbidden(format!("no origin named {other:?}: start, current or end"))),
                };
                state.with(move |file| file.seek(to)).await
            }
        });
        methods.add_async_method("size", |_, this, ()| {
            let state = this.0.clone();
            async move { state.with(|file| file.metadata().map(|metadata| metadata.len())).await }
        });
        methods.add_method("close", |_, this, ()| {
            this.0.permit.take();
            this.0.file.take();
            Ok(())
        });
    }
}
