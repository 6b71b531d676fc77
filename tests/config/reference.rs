//! The reference page of the configuration, written from its JSON Schema.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

const HEAD: &str = r#"<!-- Written from the comments in the source by `SKEP_REWRITE=1 cargo test --test config`. Change those, not this page. -->

# config.ron

One file in [RON](https://github.com/ron-rs/ron), `config.ron` in the working directory or `/etc/skep/config.ron`, or another with `--config`. It begins with
`Config(`; every option may be left out and then has its default. [config.ron](../../config.ron) at the root of the repository shows all of them in place, and
`skep init` writes it. `skep configtest` checks a file and shows the line of everything that is wrong with it. What cannot be used changes nothing: the
configuration that runs goes on.

- **Durations** are whole numbers with units: `"250ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"7d"`.
- **Sizes** are whole numbers with a unit: `"512 KiB"`, `"64 MiB"`, `"1 GiB"` (powers of 1024), `"10 MB"` (powers of 1000), `"100 B"`.
- **Addresses** to listen on: `"127.0.0.1:80"`, `"[::1]:80"`, `":80"` (every IPv4 address), `"localhost:80"`, `"unix:run/web.sock"`. IPv6 listeners take IPv6 only.
- **Networks**: `"10.0.0.0/8"`, `"fe80::/10"`, or one address.
- **Paths** are relative to the directory of the file; in an included file too, to that of the one that includes it.
- **Values from outside**, in any text: `"${NAME}"` is a variable of the environment, `"${NAME:-value}"` has a default for one that is missing or empty,
  `"${file:/run/secrets/token}"` is the content of a file without its last line end. `"$${"` is a plain `${`.
- **Optional values** are written as they are, `None` switches them off: `max_age: "7d"`, `max_age: None`.
- **Applied in place**, by `skep update`, SIGHUP or saving the file: everything but `user`, `group`, `chroot`, `cwd`, `data`, `run`, `pid_file`, `store`, `events`,
  `limiter` and `workers.max_total`; the answer names those that wait for a restart.

"#;

/// A block that gets a section: its title and its schema.
struct Section {
    title: String,
    schema: Value,
}

struct Writer<'a> {
    defs: &'a Map<String, Value>,
    /// Definitions that have a section already, or wait for one.
    known: BTreeSet<String>,
    waiting: Vec<Section>,
}

/// The page.
pub fn page(schema: &Value) -> String {
    let defs = schema["$defs"].as_object().expect("the schema has definitions");
    let mut writer = Writer { defs, known: BTreeSet::new(), waiting: Vec::new() };
    let mut page = HEAD.to_owned();
    page += &writer.section(&Section { title: "The file".to_owned(), schema: schema.clone() }, "");
    while !writer.waiting.is_empty() {
        let section = writer.waiting.remove(0);
        let others = std::mem::take(&mut writer.waiting);
        let owner = section.title.clone();
        page += &writer.section(&section, &owner);
        // A block's own blocks come right behind it.
        writer.waiting.extend(others);
    }
    page
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// The name of a referenced definition.
fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// The choice besides `null`, if there is just one.
fn optional(schema: &Value) -> Option<&Value> {
    let choices = schema["anyOf"].as_array()?;
    let mut others = choices.iter().filter(|choice| choice["type"] != "null");
    if choices.len() == 2 { others.next() } else { None }
}

/// The name of a variant of an enum.
fn variant(schema: &Value) -> String {
    match (schema["const"].as_str(), schema["properties"].as_object().and_then(|properties| properties.keys().next())) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => format!("{name}(…)"),
        (None, None) => String::new(),
    }
}

/// A default as it is written in RON; nothing for whole blocks, whose own sections show it.
fn default(value: &Value, is_choice: bool) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::String(name) if is_choice => name.clone(),
        Value::Object(map) if is_choice => map.keys().next().map(|name| format!("{name}(…)")).unwrap_or_default(),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(_) => String::new(),
        other => other.to_string().replace("\",\"", "\", \""),
    }
}

impl Writer<'_> {
    fn section(&mut self, section: &Section, owner: &str) -> String {
        let mut text = format!("## {}\n\n", section.title);
        if let Some(description) = section.schema["description"].as_str() {
            let _ = writeln!(text, "{description}\n");
        }
        let Some(properties) = section.schema["properties"].as_object() else { return text };
        text += "| option | what it is | default | |\n|---|---|---|---|\n";
        for (name, property) in properties {
            let title = if owner.is_empty() { format!("`{name}`") } else { format!("{} `{name}`", owner.trim_end_matches('.')) };
            let kind = self.kind(property, &title);
            let shown = property.get("default").map(|value| default(value, self.is_choice(property))).unwrap_or_default();
            let shown = if shown.is_empty() { String::new() } else { format!("`{shown}`") };
            let description = property["description"].as_str().unwrap_or_default();
            let _ = writeln!(text, "| `{name}` | {} | {} | {} |", cell(&kind), cell(&shown), cell(description));
        }
        text + "\n"
    }

    fn is_choice(&self, schema: &Value) -> bool {
        let schema = optional(schema).unwrap_or(schema);
        reference(schema).is_some_and(|name| self.defs[name].get("oneOf").is_some())
    }

    /// What a value is, in words; blocks inside it are put on the list of sections.
    fn kind(&mut self, schema: &Value, title: &str) -> String {
        if let Some(inner) = optional(schema) {
            return format!("{} or `None`", self.kind(&inner.clone(), title));
        }
        if let Some(name) = reference(schema) {
            return self.referenced(name, title);
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| if kind == "null" { "`None`" } else { plain(kind) }).collect();
                kinds.join(" or ")
            }
            kind if kind == "array" => format!("list: {}", self.kind(&schema["items"].clone(), title)),
            kind if kind == "object" => format!("map: {}", self.kind(&schema["additionalProperties"].clone(), title)),
            Value::Null => "any value".to_owned(),
            kind => plain(kind).to_owned(),
        }
    }

    fn referenced(&mut self, name: &str, title: &str) -> String {
        let definition = self.defs[name].clone();
        if let Some(variants) = definition["oneOf"].as_array() {
            let mut shown = Vec::new();
            for schema in variants {
                shown.push(format!("`{}`", variant(schema)));
                for (kind, inner) in schema["properties"].as_object().into_iter().flatten() {
                    if let Some(inner) = reference(inner) {
                        self.wait(inner, &format!("{title}: `{kind}`"));
                    }
                }
            }
            return shown.join(", ");
        }
        if definition.get("properties").is_some() {
            self.wait(name, title);
            return "block".to_owned();
        }
        match name {
            "Secret" => "text, never shown".to_owned(),
            "LogFile" => "path".to_owned(),
            "ServerAddress" => "address, or name and port".to_owned(),
            "Client" => "none yet".to_owned(),
            other => other.to_lowercase(),
        }
    }

    /// Puts a block on the list of sections, once.
    fn wait(&mut self, name: &str, title: &str) {
        if self.defs[name].get("properties").is_some() && self.known.insert(name.to_owned()) {
            self.waiting.push(Section { title: title.to_owned(), schema: self.defs[name].clone() });
        }
    }
}

/// The name of a type of JSON for people.
fn plain(kind: &Value) -> &str {
    match kind.as_str() {
        Some("string") => "text",
        Some("integer") => "number",
        Some("boolean") => "`true` or `false`",
        Some(other) => other,
        None => "any value",
    }
}
