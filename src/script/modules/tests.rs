//! The descriptions of the modules are true and complete, and what is generated from them is up to date.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use mlua::{Lua, Table};

use super::{ALL, Module};
use crate::script::context::{AppContext, Mode};
use crate::script::limits::Limits;
use crate::script::request;
use crate::script::services::Services;
use crate::script::source::Source;
use crate::script::vm::Vm;

mod description;

use description::{Field, Type, read};

/// Set to write the generated files anew.
const REWRITE: &str = "SKEP_REWRITE";

/// Where the methods and fields of the described objects are: the object, its file, the place in it.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("WebSocket", include_str!("../websocket/handle.rs"), "impl UserData for WebSocketHandle"),
    ("Connection", include_str!("../connection.rs"), "impl UserData for ConnectionHandle"),
    ("Listener", include_str!("net.rs"), "impl UserData for ListenerHandle"),
    ("Udp", include_str!("net.rs"), "impl UserData for UdpHandle"),
    ("Subscription", include_str!("events.rs"), "impl UserData for SubscriptionHandle"),
    ("RtepClient", include_str!("rtep.rs"), "impl UserData for ClientHandle"),
    ("RtepSession", include_str!("rtep.rs"), "impl UserData for SessionHandle"),
    ("RtepSubscription", include_str!("rtep.rs"), "impl UserData for SubscriptionHandle"),
    ("Process", include_str!("process.rs"), "impl UserData for ProcessHandle"),
    ("File", include_str!("stream.rs"), "impl UserData for FileHandle"),
    ("HttpResponse", include_str!("http.rs"), "impl UserData for Response"),
    ("Upload", include_str!("../upload.rs"), "impl UserData for UploadFile"),
    ("Part", include_str!("../form.rs"), "impl UserData for Part"),
    ("Collection", include_str!("store.rs"), "impl UserData for Collection"),
    ("StoreDate", include_str!("stored.rs"), "impl UserData for Date"),
    ("StoreBinary", include_str!("stored.rs"), "impl UserData for Binary"),
    ("StoreInteger", include_str!("stored.rs"), "impl UserData for Integer"),
    ("Lock", include_str!("lock.rs"), "impl UserData for LockHandle"),
    ("Task", include_str!("../task.rs"), "impl UserData for Task"),
];

fn with_app(body: impl FnOnce(&Lua, &std::rc::Rc<AppContext>)) {
    let context = AppContext::new("test", Mode::Development, Limits::default(), Source::memory::<&str, &str>([]).into(), Services::alone());
    let vm = Vm::new("test", &Limits::default(), false).expect("a VM");
    body(vm.lua(), &context);
}

fn types(module: &Module) -> Vec<Type> {
    read(module.types).unwrap_or_else(|error| panic!("{}.d.luau: {error}", module.name))
}

fn names(fields: &[Field]) -> BTreeSet<String> {
    fields.iter().map(|field| field.name.clone()).collect()
}

fn keys(table: &Table) -> BTreeSet<String> {
    table.pairs::<String, mlua::Value>().map(|pair| pair.expect("a pair").0).collect()
}

/// The names given to mlua's `add_…("name"` behind this place, up to the end of the item and of the functions that it calls.
fn registered(source: &str, place: &str) -> BTreeSet<String> {
    let start = source.find(place).unwrap_or_else(|| panic!("{place} is gone"));
    let rest = &source[start + place.len()..];
    let end = rest.find("\nimpl UserData for ").or_else(|| rest.find("\nasync fn ")).unwrap_or(rest.len());
    let mut found = BTreeSet::new();
    for (at, _) in rest[..end].match_indices("s.add_") {
        let call = &rest[at..];
        let open = call.find('(').expect("a call");
        let name = call[open + 1..].trim_start().strip_prefix('"').expect("a name");
        found.insert(name[..name.find('"').expect("its end")].to_owned());
    }
    found
}

#[test]
fn every_function_described_exists_and_the_reverse() {
    with_app(|lua, app| {
        for module in ALL {
            let types = types(module);
            let described = types.iter().find(|kind| kind.name == module.name);
            let described = described.unwrap_or_else(|| panic!("{}.d.luau does not describe the type {}", module.name, module.name));
            let table = (module.open)(lua, app).expect("opened");
            assert_eq!(names(&described.fields), keys(&table), "@skep/{}", module.name);
            for field in &described.fields {
                let value: mlua::Value = table.get(field.name.as_str()).expect("there");
                assert_eq!(field.is_function(), value.is_function(), "{}.{}: {}", module.name, field.name, field.kind);
            }
        }
    });
}

#[test]
fn every_object_described_has_what_is_said_and_the_reverse() {
    let all: Vec<Type> = ALL.iter().flat_map(types).collect();
    let described = |name: &str| all.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("{name} is not described"));
    for (name, source, place) in OBJECTS {
        assert_eq!(names(&described(name).fields), registered(source, place), "{name}");
    }
    with_app(|lua, app| {
        let methods = request::methods(lua, app, &std::rc::Rc::default()).expect("methods");
        let (functions, values): (Vec<_>, Vec<_>) =
            described("Request").fields.iter().cloned().partition(|field| field.kind.contains("(self: Request"));
        assert_eq!(names(&functions), keys(&methods), "Request's methods");
        let fields: BTreeSet<String> = request::FIELDS.iter().map(ToString::to_string).collect();
        assert_eq!(names(&values), fields, "Request's fields");
    });
    let events = include_str!("../events.luau");
    for field in &described("EventStream").fields {
        let there = events.contains(&format!("function events:{}(", field.name)) || events.contains(&format!("{} = ", field.name));
        assert!(there, "EventStream.{}", field.name);
    }
}

#[test]
fn everything_has_a_description() {
    for module in ALL {
        for kind in types(module) {
            assert!(!kind.docs.is_empty(), "{}: {} has no description", module.name, kind.name);
            for field in kind.fields {
                assert!(!field.docs.is_empty(), "{}: {}.{} has no description", module.name, kind.name, field.name);
            }
        }
    }
}

#[test]
fn the_files_for_editors_and_readers_are_up_to_date() {
    check("types/skep.d.luau", &definitions());
    check("docs/reference/api.md", &reference());
}

#[test]
fn the_definitions_are_luau() {
    Lua::new().load(definitions()).set_name("=types/skep.d.luau").into_function().expect("they compile");
}

fn check(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(REWRITE).is_some() {
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
        std::fs::write(&file, expected).expect("written");
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is not what the modules say: run the tests with {REWRITE}=1");
}

/// The descriptions of all modules in one file.
fn definitions() -> String {
    let mut text = "-- What skep's modules give, for editors. Generated from src/script/modules/*.d.luau: change those.\n".to_owned();
    for module in ALL {
        text.push('\n');
        text.push_str(module.types.trim_end());
        text.push('\n');
    }
    text
}

/// The reference page.
fn reference() -> String {
    let mut page = "# Modules\n\nWhat `require` gives to applications. Generated from the descriptions beside the modules' code, as is \
                    `types/skep.d.luau` for editors.\n\n"
        .to_owned();
    for module in ALL {
        let _ = writeln!(page, "- [`{}`](#{})", required(module), anchor(module));
    }
    for module in ALL {
        let _ = write!(page, "\n## {}\n", required(module));
        let types = types(module);
        let (main, others): (Vec<_>, Vec<_>) = types.into_iter().partition(|kind| kind.name == module.name);
        for kind in main.iter().chain(&others) {
            write_type(&mut page, kind, kind.name == module.name);
        }
    }
    page
}

fn required(module: &Module) -> String {
    if module.name == "skep" { "@skep".to_owned() } else { format!("@skep/{}", module.name) }
}

fn anchor(module: &Module) -> String {
    required(module).replace(['@', '/'], "")
}

fn write_type(page: &mut String, kind: &Type, is_module: bool) {
    if !is_module {
        let _ = write!(page, "\n### {}\n", kind.name);
    }
    let _ = write!(page, "\n{}\n", kind.docs);
    if kind.fields.is_empty() {
        let _ = write!(page, "\n```luau\ntype {} = {}\n```\n", kind.name, kind.text);
    }
    for field in &kind.fields {
        let owner = if is_module { format!("{}.", kind.name) } else { String::new() };
        let _ = write!(page, "\n**`{owner}{}`** `{}`  \n{}\n", field.name, field.kind, field.docs);
    }
}
