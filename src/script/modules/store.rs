//! `@skep/store`: documents.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use mlua::{Function, Lua, LuaString, Table, UserData, UserDataMethods, Value, Variadic};

use super::AppContext;
use super::stored::{Binary, Date, Integer, document, document_to_lua, to_lua};
use crate::script::arguments::{Options, Span, kind};
use crate::script::iteration;
use crate::script::step::StepKind;
use crate::script::task::{self, Task};
use crate::store::client::Point;
use crate::store::key::Direction;
use crate::store::view::{Fields, FindOptions};
use crate::store::{Change, IndexSpec, StoreAnswer, StoreError, Write};

/// The latest and the earliest moment of a date, in seconds: 100 million days (as in ECMAScript, 21.4.1.1).
const LAST_SECOND: f64 = 8.64e12;

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "collection",
        lua.create_function(move |_, name: String| {
            crate::store::check_name(&name).map_err(|error| mlua::Error::runtime(format!("store: {error}")))?;
            Ok(Collection(Rc::new(Place { app: context.clone(), name })))
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "point",
        lua.create_async_function(move |_, ()| {
            let app = context.clone();
            async move {
                let point = app.services.store.now().await;
                point.map(|point| point.to_string()).map_err(|error| mlua::Error::runtime(format!("store: {error}")))
            }
        })?,
    )?;
    module.raw_set("date", lua.create_function(|_, seconds: f64| date(seconds))?)?;
    module.raw_set("binary", lua.create_function(|_, bytes: LuaString| Ok(Binary(bytes.as_bytes().to_vec())))?)?;
    module.raw_set(
        "int64",
        lua.create_function(|_, text: String| match text.parse() {
            Ok(number) => Ok(Integer(number)),
            Err(_) => Err(mlua::Error::runtime(format!("store: {text:?} is no whole number of 64 bits"))),
        })?,
    )?;
    Ok(module)
}

fn date(seconds: f64) -> mlua::Result<Date> {
    if seconds.abs() <= LAST_SECOND {
        return Ok(Date((seconds * 1000.0).round() as i64));
    }
    Err(mlua::Error::runtime(format!("store: {seconds} seconds since 1970 are no date")))
}

/// A collection as its script holds it.
struct Collection(Rc<Place>);

/// Whose collection, and which.
struct Place {
    app: Rc<AppContext>,
    name: String,
}

impl Place {
    fn fail(&self, what: impl std::fmt::Display) -> mlua::Error {
        mlua::Error::runtime(format!("store: {}: {what}", self.name))
    }

    /// Says which collection an error is of.
    fn named<T>(&self, result: mlua::Result<T>) -> mlua::Result<T> {
        result.map_err(|error| match error {
            mlua::Error::RuntimeError(why) => self.fail(why),
            other => other,
        })
    }

    fn document(&self, lua: &Lua, table: Option<&Table>) -> mlua::Result<crate::store::Document> {
        self.named(table.map_or_else(|| Ok(crate::store::Document::new()), |table| document(lua, table)))
    }

    async fn write(&self, write: Write) -> mlua::Result<StoreAnswer> {
        self.app.services.store.write(&self.name, write).await.map_err(|error| self.fail(error))
    }

    async fn done(&self, write: Write) -> mlua::Result<bool> {
        match self.write(write).await? {
            StoreAnswer::Done(done) => Ok(done),
            _ => Err(self.unexpected()),
        }
    }

    async fn deleted(&self, filter: crate::store::Document, many: bool) -> mlua::Result<u64> {
        match self.write(Write::Delete { filter, many }).await? {
            StoreAnswer::Deleted(count) => Ok(count),
            _ => Err(self.unexpected()),
        }
    }

    async fn updated(&self, lua: &Lua, write: Write) -> mlua::Result<Table> {
        let StoreAnswer::Updated { matched, modified, upserted } = self.write(write).await? else { return Err(self.unexpected()) };
        let table = lua.create_table()?;
        table.raw_set("matched", matched)?;
        table.raw_set("modified", modified)?;
        if let Some(id) = upserted {
            table.raw_set("upserted", to_lua(lua, id)?)?;
        }
        Ok(table)
    }

    fn unexpected(&self) -> mlua::Error {
        self.fail("an answer to another question came")
    }

    async fn insert(&self, documents: Vec<crate::store::Document>) -> mlua::Result<Vec<crate::store::Value>> {
        let count = documents.len();
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        match self.write(Write::Insert(documents)).await? {
            StoreAnswer::Inserted(ids, None) => Ok(ids),
            StoreAnswer::Inserted(ids, Some(why)) => {
                Err(self.fail(format_args!("{why} (document {} of {count}; those before it are inserted)", ids.len() + 1)))
            }
            _ => Err(self.unexpected()),
        }
    }

    async fn find(&self, filter: crate::store::Document, options: FindOptions) -> mlua::Result<Vec<crate::store::Document>> {
        self.app.services.store.find(&self.name, filter, options).await.map_err(|error| self.fail(error))
    }

    fn options(&self, lua: &Lua, options: &Options) -> mlua::Result<FindOptions> {
        self.named((|| {
            options.only(&["sort", "skip", "limit", "fields"])?;
            Ok(FindOptions {
                sort: options.get::<Value>("sort")?.map_or_else(|| Ok(Vec::new()), |sort| ordered(&sort))?,
                skip: options.or("skip", 0)?,
                limit: options.get("limit")?,
                fields: options.get::<Table>("fields")?.map(|fields| chosen(lua, &fields)).transpose()?,
            })
        })())
    }
}

impl UserData for Collection {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        add_insertion(methods);
        add_search(methods);
        add_changes(methods);
        add_upkeep(methods);
        add_following(methods);
    }
}

/// New documents.
fn add_insertion<M: UserDataMethods<Collection>>(methods: &mut M) {
    methods.add_async_method("insert", |lua, this, table: Table| {
        let place = this.0.clone();
        async move {
            let id = place.insert(vec![place.document(&lua, Some(&table))?]).await?.pop().ok_or_else(|| place.unexpected())?;
            to_lua(&lua, id)
        }
    });
    methods.add_async_method("insert_many", |lua, this, tables: Vec<Table>| {
        let place = this.0.clone();
        async move {
            let documents = tables.iter().map(|table| place.document(&lua, Some(table))).collect::<mlua::Result<Vec<_>>>()?;
            place.insert(documents).await?.into_iter().map(|id| to_lua(&lua, id)).collect::<mlua::Result<Vec<_>>>()
        }
    });
}

/// Documents that are there.
fn add_search<M: UserDataMethods<Collection>>(methods: &mut M) {
    methods.add_async_method("find", |lua, this, (filter, options): (Option<Table>, Options)| {
        let place = this.0.clone();
        async move {
            let (filter, options) = (place.document(&lua, filter.as_ref())?, place.options(&lua, &options)?);
            let found = place.find(filter, options).await?;
            let list = lua.create_table_with_capacity(found.len(), 0)?;
            for (index, document) in found.into_iter().enumerate() {
                list.raw_set(index + 1, document_to_lua(&lua, document)?)?;
            }
            super::json::mark_list(&lua, &list)?;
            Ok(list)
        }
    });
    methods.add_async_method("find_one", |lua, this, (filter, options): (Option<Table>, Options)| {
        let place = this.0.clone();
        async move {
            let (filter, options) = (place.document(&lua, filter.as_ref())?, place.options(&lua, &options)?);
            let found = place.find(filter, FindOptions { limit: Some(1), ..options }).await?;
            found.into_iter().next().map(|document| document_to_lua(&lua, document)).transpose()
        }
    });
    methods.add_async_method("count", |lua, this, filter: Option<Table>| {
        let place = this.0.clone();
        async move {
            let filter = place.document(&lua, filter.as_ref())?;
            place.app.services.store.count(&place.name, filter).await.map_err(|error| place.fail(error))
        }
    });
    methods.add_async_method("distinct", |lua, this, (path, filter): (String, Option<Table>)| {
        let place = this.0.clone();
        async move {
            let filter = place.document(&lua, filter.as_ref())?;
            let values = place.app.services.store.distinct(&place.name, &path, filter).await.map_err(|error| place.fail(error))?;
            values.into_iter().map(|value| to_lua(&lua, value)).collect::<mlua::Result<Vec<_>>>()
        }
    });
}

/// Documents that change or go.
fn add_changes<M: UserDataMethods<Collection>>(methods: &mut M) {
    methods.add_async_method("update_one", |lua, this, (filter, change, options): (Table, Table, Options)| {
        update(lua, this.0.clone(), filter, change, options, false)
    });
    methods.add_async_method("update_many", |lua, this, (filter, change, options): (Table, Table, Options)| {
        update(lua, this.0.clone(), filter, change, options, true)
    });
    methods.add_async_method("replace_one", |lua, this, (filter, table, options): (Table, Table, Options)| {
        let place = this.0.clone();
        async move {
            let (filter, document) = (place.document(&lua, Some(&filter))?, place.document(&lua, Some(&table))?);
            let upsert = upsert(&place, &options)?;
            place.updated(&lua, Write::Replace { filter, document, upsert }).await
        }
    });
    methods.add_async_method("delete_one", |lua, this, filter: Table| {
        let place = this.0.clone();
        async move { place.deleted(place.document(&lua, Some(&filter))?, false).await }
    });
    methods.add_async_method("delete_many", |lua, this, filter: Table| {
        let place = this.0.clone();
        async move { place.deleted(place.document(&lua, Some(&filter))?, true).await }
    });
}

/// Indexes, and the whole collection.
fn add_upkeep<M: UserDataMethods<Collection>>(methods: &mut M) {
    methods.add_async_method("create_index", |_, this, (fields, options): (Value, Options)| {
        let place = this.0.clone();
        async move { place.done(Write::CreateIndex(place.named(index(&fields, &options))?)).await }
    });
    methods.add_async_method("drop_index", |_, this, name: String| {
        let place = this.0.clone();
        async move { place.done(Write::DropIndex(name)).await }
    });
    methods.add_async_method("indexes", |lua, this, ()| {
        let place = this.0.clone();
        async move {
            let indexes = place.app.services.store.indexes(&place.name).await.map_err(|error| place.fail(error))?;
            indexes.into_iter().map(|index| index_to_lua(&lua, index)).collect::<mlua::Result<Vec<_>>>()
        }
    });
    methods.add_async_method("drop", |_, this, ()| {
        let place = this.0.clone();
        async move { place.done(Write::Drop).await }
    });
}

/// What changes.
fn add_following<M: UserDataMethods<Collection>>(methods: &mut M) {
    methods.add_async_method("tail", |lua, this, options: Options| {
        let place = this.0.clone();
        async move {
            let tail = Tail::start(place, &options).await?;
            iteration::function(&lua, move |lua| {
                let tail = tail.clone();
                async move { tail.next(&lua).await }
            })
        }
    });
    methods.add_method("watch", |lua, this, (function, options): (Function, Options)| {
        let (place, after) = (this.0.clone(), this.0.named(point(&options))?);
        let app = place.app.clone();
        let watching = iteration::function(lua, move |lua| {
            let (place, function) = (place.clone(), function.clone());
            async move {
                let tail = Tail::from(place, after).await?;
                while let Some(change) = tail.next(&lua).await? {
                    function.call_async::<()>(change).await?;
                }
                Ok(())
            }
        })?;
        Task::spawn(&app, task::place(lua), StepKind::Task, watching, Variadic::new())
    });
}

async fn update(lua: Lua, place: Rc<Place>, filter: Table, change: Table, options: Options, many: bool) -> mlua::Result<Table> {
    let (filter, update) = (place.document(&lua, Some(&filter))?, place.document(&lua, Some(&change))?);
    let upsert = upsert(&place, &options)?;
    place.updated(&lua, Write::Update { filter, update, many, upsert }).await
}

fn upsert(place: &Place, options: &Options) -> mlua::Result<bool> {
    place.named(options.only(&["upsert"]).and_then(|()| options.or("upsert", false)))
}

/// An order: `{at = -1}`, `{"room", "-at"}` or `{{room = 1}, {at = -1}}`.
fn ordered(fields: &Value) -> mlua::Result<Fields> {
    let Value::Table(table) = fields else {
        return Err(mlua::Error::runtime(format!("fields in an order are a table such as {{at = -1}}, not a {}", kind(fields))));
    };
    let mut order = Fields::new();
    if table.raw_len() == 0 {
        one_field(table, &mut order)?;
        return Ok(order);
    }
    for item in table.sequence_values::<Value>() {
        match item? {
            Value::String(name) => {
                let name = name.to_str()?;
                order.push(name.strip_prefix('-').map_or((name.to_owned(), Direction::Up), |name| (name.to_owned(), Direction::Down)));
            }
            Value::Table(table) => one_field(&table, &mut order)?,
            other => {
                return Err(mlua::Error::runtime(format!(
                    "a field is a name such as \"-at\" or a table such as {{at = -1}}, not a {}",
                    kind(&other)
                )));
            }
        }
    }
    Ok(order)
}

/// A table has no order of its own, so that it can name one field only.
fn one_field(table: &Table, order: &mut Fields) -> mlua::Result<()> {
    let before = order.len();
    table.for_each(|name: String, direction: f64| {
        let direction = match direction {
            1.0 => Direction::Up,
            -1.0 => Direction::Down,
            other => return Err(mlua::Error::runtime(format!("the direction of {name} is 1 or -1, not {other}"))),
        };
        order.push((name, direction));
        Ok(())
    })?;
    if order.len() > before + 1 {
        return Err(mlua::Error::runtime("several fields in an order are a list: {{room = 1}, {at = -1}} or {\"room\", \"-at\"}"));
    }
    Ok(())
}

/// The fields to show: `{name = true}`, or a list of names.
fn chosen(lua: &Lua, fields: &Table) -> mlua::Result<crate::store::Document> {
    if fields.raw_len() == 0 {
        return document(lua, fields);
    }
    let names = fields.sequence_values::<String>().collect::<mlua::Result<Vec<_>>>()?;
    Ok(names.into_iter().map(|name| (name, crate::store::Value::Bool(true))).collect())
}

fn index(fields: &Value, options: &Options) -> mlua::Result<IndexSpec> {
    options.only(&["name", "unique", "expire_after"])?;
    Ok(IndexSpec {
        name: options.or("name", String::new())?,
        fields: ordered(fields)?,
        unique: options.or("unique", false)?,
        expire_after: options.get::<Span>("expire_after")?.map(|span| span.0.as_secs()),
    })
}

fn index_to_lua(lua: &Lua, index: IndexSpec) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("name", index.name)?;
    let fields = index.fields.into_iter().map(|(path, direction)| if direction == Direction::Up { path } else { format!("-{path}") });
    table.raw_set("fields", fields.collect::<Vec<_>>())?;
    table.raw_set("unique", index.unique)?;
    table.raw_set("expire_after", index.expire_after)?;
    Ok(table)
}

/// The point that options name.
fn point(options: &Options) -> mlua::Result<Option<Point>> {
    options.only(&["after"])?;
    let text = options.get::<String>("after")?;
    let parse = |text: String| Point::parse(&text).ok_or_else(|| mlua::Error::runtime(format!("{text:?} is no point")));
    text.map(parse).transpose()
}

/// Following a collection.
struct Tail {
    place: Rc<Place>,
    point: RefCell<Point>,
    ahead: RefCell<VecDeque<Change>>,
}

impl Tail {
    async fn start(place: Rc<Place>, options: &Options) -> mlua::Result<Rc<Self>> {
        let after = place.named(point(options))?;
        Self::from(place, after).await
    }

    async fn from(place: Rc<Place>, after: Option<Point>) -> mlua::Result<Rc<Self>> {
        let point = match after {
            Some(point) => point,
            None => place.app.services.store.now().await.map_err(|error| place.fail(error))?,
        };
        Ok(Rc::new(Self { place, point: RefCell::new(point), ahead: RefCell::default() }))
    }

    /// The next change; nil when newer code has taken over.
    async fn next(&self, lua: &Lua) -> mlua::Result<Option<Table>> {
        let ahead = self.ahead.borrow_mut().pop_front();
        let change = match ahead {
            Some(change) => change,
            None => {
                let retired = async {
                    self.place.app.until_retired().await;
                    Ok(None)
                };
                match futures_lite::future::or(retired, async { self.more().await.map(Some) }).await {
                    Ok(Some(change)) => change,
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(self.place.fail(error)),
                }
            }
        };
        self.show(lua, change).map(Some)
    }

    async fn more(&self) -> Result<Change, StoreError> {
        loop {
            let after = *self.point.borrow();
            let (changes, point) = self.place.app.services.store.changes(&self.place.name, after).await?;
            self.point.replace(point);
            let mut changes = VecDeque::from(changes);
            if let Some(first) = changes.pop_front() {
                self.ahead.replace(changes);
                return Ok(first);
            }
        }
    }

    fn show(&self, lua: &Lua, change: Change) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("kind", change.kind.name())?;
        table.raw_set("id", to_lua(lua, change.id)?)?;
        if let Some(document) = change.document {
            table.raw_set("document", document_to_lua(lua, document)?)?;
        }
        let point = Point { number: change.number, ..*self.point.borrow() };
        table.raw_set("point", point.to_string())?;
        Ok(table)
    }
}
