//! `require`: skep's own modules by `@skep/NAME`, the application's by paths relative to the module that asks, as Luau has it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{Function, Lua, Value};

use super::context::AppContext;
use super::modules;
use super::source::{SourceError, resolve};

/// The most files an application may load.
const MAX_FILES: usize = 1024;

/// The modules that an application has loaded.
pub struct Modules {
    app: Rc<AppContext>,
    loaded: RefCell<HashMap<String, Loaded>>,
}

enum Loaded {
    /// Being loaded, for this file.
    Loading(String),
    Done(Value),
}

/// Sets `require` among the globals.
///
/// # Errors
/// When memory is short.
pub fn install(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Rc<Modules>> {
    let modules = Rc::new(Modules { app: app.clone(), loaded: RefCell::default() });
    let loader = modules.clone();
    let require = lua.create_async_function(move |lua, name: String| {
        let modules = loader.clone();
        let asking = asking_file(&lua, &modules.app.name);
        async move { modules.require(&lua, &name, &asking).await }
    })?;
    lua.globals().raw_set("require", require)?;
    Ok(modules)
}

/// The file, relative to the application's directory, that called `require`.
fn asking_file(lua: &Lua, app: &str) -> String {
    for level in 0..8 {
        let source = lua.inspect_stack(level, |frame| frame.source().source.map(Cow::into_owned));
        match source {
            None => break,
            Some(Some(source)) => {
                let source = source.strip_prefix('@').unwrap_or(&source);
                if let Some(file) = source.strip_prefix(app).and_then(|file| file.strip_prefix('/')) {
                    return file.to_owned();
                }
            }
            Some(None) => {}
        }
    }
    String::new()
}

impl Modules {
    /// Loads a file of the application, for `asking`, and gives what it returns. A file is run once.
    ///
    /// # Errors
    /// When there is no such file, it does not compile, raises, or needs itself.
    pub async fn file(&self, lua: &Lua, file: &str, text: &str, asking: &str) -> mlua::Result<Value> {
        if self.loaded.borrow().len() >= MAX_FILES {
            return Err(mlua::Error::runtime(format!("require: more than {MAX_FILES} files")));
        }
        self.loaded.borrow_mut().insert(file.to_owned(), Loaded::Loading(asking.to_owned()));
        let unfinished = Unfinished { modules: self, file };
        let function = self.compile(lua, file, text)?;
        let value: Value = function.call_async(()).await?;
        std::mem::forget(unfinished);
        self.loaded.borrow_mut().insert(file.to_owned(), Loaded::Done(value.clone()));
        Ok(value)
    }

    fn compile(&self, lua: &Lua, file: &str, text: &str) -> mlua::Result<Function> {
        lua.load(text).set_name(format!("@{}/{file}", self.app.name)).into_function()
    }

    async fn require(&self, lua: &Lua, name: &str, asking: &str) -> mlua::Result<Value> {
        if name == "@skep" || name.starts_with("@skep/") {
            return self.built_in(lua, name);
        }
        let path = place(asking, name).map_err(|why| fail(name, why))?;
        let path = path.strip_suffix(".luau").unwrap_or(&path);
        for file in [format!("{path}.luau"), format!("{path}/init.luau")] {
            if let Some(value) = self.already(&file, asking)? {
                return Ok(value);
            }
            match self.app.source.read(&file) {
                Ok(Some(text)) => return self.file(lua, &file, &text, asking).await,
                Ok(None) => {}
                Err(error @ (SourceError::Outside(_) | SourceError::Unreadable(..) | SourceError::NotText(_))) => {
                    return Err(fail(name, error));
                }
            }
        }
        Err(fail(name, format_args!("no file {path}.luau in the application's directory{}", self.meant(asking, name))))
    }

    /// What to write instead, where somebody took `./` in an `init.luau` for its own folder.
    fn meant(&self, asking: &str, name: &str) -> String {
        let inside = name.strip_prefix("./").filter(|_| is_init(asking)).map(|rest| format!("@self/{rest}"));
        let found = inside.filter(|inside| {
            let path = place(asking, inside).unwrap_or_default();
            [format!("{path}.luau"), format!("{path}/init.luau")].iter().any(|file| matches!(self.app.source.read(file), Ok(Some(_))))
        });
        found.map_or_else(String::new, |inside| format!("; in an init.luau the files beside it are named by @self: {inside:?}"))
    }

    fn built_in(&self, lua: &Lua, name: &str) -> mlua::Result<Value> {
        if let Some(Loaded::Done(value)) = self.loaded.borrow().get(name) {
            return Ok(value.clone());
        }
        let short = name.strip_prefix("@skep/").unwrap_or("skep");
        let module = modules::ALL.iter().find(|module| module.name == short);
        let module = module.ok_or_else(|| fail(name, format_args!("no such module; there are {}", modules::names())))?;
        let table = (module.open)(lua, &self.app)?;
        table.set_readonly(true);
        let value = Value::Table(table);
        self.loaded.borrow_mut().insert(name.to_owned(), Loaded::Done(value.clone()));
        Ok(value)
    }

    /// The value of a file that was loaded before; an error when it needs itself.
    fn already(&self, file: &str, asking: &str) -> mlua::Result<Option<Value>> {
        let loaded = self.loaded.borrow();
        match loaded.get(file) {
            None => Ok(None),
            Some(Loaded::Done(value)) => Ok(Some(value.clone())),
            Some(Loaded::Loading(_)) => {
                let mut chain = vec![file, asking];
                while let Some(Loaded::Loading(next)) = chain.last().and_then(|last| loaded.get(*last)) {
                    if chain.last() == Some(&file) || chain.len() > MAX_FILES {
                        break;
                    }
                    chain.push(next);
                }
                if chain.last() != Some(&file) {
                    return Err(mlua::Error::runtime(format!("require: {file} is still being loaded by another task")));
                }
                chain.reverse();
                Err(mlua::Error::runtime(format!("require: files that need each other: {}", chain.join(" → "))))
            }
        }
    }
}

fn is_init(file: &str) -> bool {
    file == "init.luau" || file.ends_with("/init.luau")
}

/// Where `name` leads in the file `asking`, without the ending. A module is a file or a folder with an `init.luau`: `./` and `../` begin beside it,
/// `@self/` inside it (Luau's RFC "Abstract module paths and init.luau").
fn place(asking: &str, name: &str) -> Result<String, String> {
    let module = asking.strip_suffix("init.luau").filter(|_| is_init(asking)).or_else(|| asking.strip_suffix(".luau")).unwrap_or(asking);
    let module = module.strip_suffix('/').unwrap_or(module);
    if let Some(inside) = name.strip_prefix("@self/") {
        return resolve(module, inside).ok_or_else(|| "leads out of the application's directory".to_owned());
    }
    if !(name.starts_with("./") || name.starts_with("../")) {
        return Err("modules are named ./NAME, ../NAME, @self/NAME or @skep/NAME".to_owned());
    }
    if asking == "init.luau" {
        let inside = name.trim_start_matches("./");
        return Err(format!(
            "leads out of the application's directory: in an init.luau the files beside it are named by @self: \"@self/{inside}\""
        ));
    }
    let beside = module.rsplit_once('/').map_or("", |(directory, _)| directory);
    resolve(beside, name).ok_or_else(|| "leads out of the application's directory".to_owned())
}

/// Forgets a file whose loading failed, so that it is tried again.
struct Unfinished<'a> {
    modules: &'a Modules,
    file: &'a str,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.modules.loaded.borrow_mut().remove(self.file);
    }
}

fn fail(name: &str, what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("require {name:?}: {what}"))
}
