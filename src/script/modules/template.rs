//! `@skep/template`: pages from the application's `templates` directory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use mlua::{Lua, LuaString, Table, Value};

use super::AppContext;
use crate::script::arguments::kind;
use crate::script::context::Mode;

/// The directory of templates in the application's.
const DIRECTORY: &str = "templates";
/// Instructions that one rendering may take, so that a template cannot hold the worker.
const FUEL: u64 = 5_000_000;
/// How deep the values given to a template may be nested.
const MAX_DEPTH: usize = 64;
/// The most templates of one application.
const MAX_TEMPLATES: usize = 4096;
/// How often files are looked at for changes in production.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let templates = Templates::of(lua, app);
    let render = templates.clone();
    module.raw_set(
        "render",
        lua.create_function(move |lua, (name, values): (String, Option<Table>)| lua.create_string(render.render(&name, values.as_ref())?))?,
    )?;
    module.raw_set(
        "render_text",
        lua.create_function(move |lua, (text, values): (String, Option<Table>)| {
            lua.create_string(templates.render_text(&text, values.as_ref())?)
        })?,
    )?;
    Ok(module)
}

/// The templates of one application, compiled when first used.
pub(super) struct Templates {
    environment: RefCell<Environment<'static>>,
    app: Rc<AppContext>,
    loaded: Loaded,
    checked: Cell<Instant>,
}

/// The templates that were read, with the times of their files.
type Loaded = Arc<Mutex<BTreeMap<String, Option<SystemTime>>>>;

impl Templates {
    /// Those of this VM's application.
    pub(super) fn of(lua: &Lua, app: &Rc<AppContext>) -> Rc<Templates> {
        if let Some(templates) = lua.app_data_ref::<Rc<Templates>>() {
            return templates.clone();
        }
        let templates = Rc::new(Templates::new(app));
        lua.set_app_data(templates.clone());
        templates
    }

    fn new(app: &Rc<AppContext>) -> Templates {
        let loaded = Loaded::default();
        let environment = RefCell::new(environment(app, &loaded));
        Templates { environment, app: app.clone(), loaded, checked: Cell::new(Instant::now()) }
    }

    /// Forgets the templates when a file of one has changed. In development every rendering looks, else one a second.
    fn refresh(&self) {
        let now = Instant::now();
        if self.app.mode == Mode::Production && now.duration_since(self.checked.get()) < LOOK {
            return;
        }
        self.checked.set(now);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.iter().any(|(path, time)| self.app.source.modified(path) != *time) {
            loaded.clear();
            self.environment.borrow_mut().clear_templates();
        }
    }

    /// Renders a template.
    ///
    /// # Errors
    /// When there is no such template or it is wrong, with its file and line.
    pub(super) fn render(&self, name: &str, values: Option<&Table>) -> mlua::Result<String> {
        let context = context(values)?;
        self.refresh();
        let environment = self.environment.borrow();
        environment.get_template(name).and_then(|template| template.render(context)).map_err(|error| fail(&error))
    }

    fn render_text(&self, text: &str, values: Option<&Table>) -> mlua::Result<String> {
        let context = context(values)?;
        self.environment.borrow().render_named_str("text.html", text, context).map_err(|error| fail(&error))
    }
}

fn environment(app: &Rc<AppContext>, loaded: &Loaded) -> Environment<'static> {
    let mut environment = Environment::new();
    let (source, loaded) = (Arc::clone(&app.source), loaded.clone());
    environment.set_loader(move |name| {
        let path = super::super::source::resolve("", name)
            .ok_or_else(|| Error::new(ErrorKind::TemplateNotFound, format!("{name} is outside of {DIRECTORY}")))?;
        let path = format!("{DIRECTORY}/{path}");
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.len() >= MAX_TEMPLATES {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("more than {MAX_TEMPLATES} templates")));
        }
        loaded.insert(path.clone(), source.modified(&path));
        source.read(&path).map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    environment.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("txt" | "md" | "css") => AutoEscape::None,
        Some("json" | "js") => AutoEscape::Json,
        _ => AutoEscape::Html,
    });
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment
}

fn context(values: Option<&Table>) -> mlua::Result<minijinja::Value> {
    match values {
        Some(table) => convert(&Value::Table(table.clone()), 0),
        None => Ok(minijinja::Value::from(BTreeMap::<String, minijinja::Value>::new())),
    }
}

fn convert(value: &Value, depth: usize) -> mlua::Result<minijinja::Value> {
    Ok(match value {
        Value::Nil => minijinja::Value::from(()),
        Value::LightUserData(pointer) if pointer.0.is_null() => minijinja::Value::from(()),
        Value::Boolean(flag) => (*flag).into(),
        Value::Integer(number) => (*number).into(),
        Value::Number(number) => number_value(*number),
        Value::String(text) => string_value(text),
        Value::Table(_) if depth == MAX_DEPTH => {
            return Err(mlua::Error::runtime("template: values nested too deep, or a table that contains itself"));
        }
        Value::Table(table) if table.raw_len() > 0 => {
            let items: mlua::Result<Vec<_>> = (1..=table.raw_len()).map(|index| convert(&table.raw_get(index)?, depth + 1)).collect();
            items?.into()
        }
        Value::Table(table) => {
            let mut map = BTreeMap::new();
            table.for_each(|key: Value, value: Value| {
                // A module or an object may be given as it is: its functions are nothing to show.
                if !value.is_function() {
                    map.insert(convert(&key, depth + 1)?, convert(&value, depth + 1)?);
                }
                Ok(())
            })?;
            map.into()
        }
        other => return Err(mlua::Error::runtime(format!("template: a {} cannot be shown", kind(other)))),
    })
}

fn number_value(number: f64) -> minijinja::Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

fn string_value(text: &LuaString) -> minijinja::Value {
    match text.to_str() {
        Ok(text) => (&*text).into(),
        Err(_) => text.to_string_lossy().into(),
    }
}

fn fail(error: &Error) -> mlua::Error {
    let mut text = "template: ".to_owned();
    if let Some(name) = error.name() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{DIRECTORY}/{name}:{}: ", error.line().unwrap_or(1));
    }
    let _ = write!(text, "{}", error.kind());
    if let Some(detail) = error.detail() {
        let _ = write!(text, ": {detail}");
    }
    mlua::Error::runtime(text)
}
