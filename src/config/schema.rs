//! The configuration described for editors and for the manual: JSON Schema, and the text that `skep init` writes.

use schemars::schema_for;
use serde_json::Value;

use super::written::Config;

/// `config.ron` with every option and its default, the one of the repository.
const COMMENTED: &str = include_str!("../../config.ron");

/// The JSON Schema (draft 2020-12) of the configuration. The descriptions are the manual.
#[must_use]
pub fn schema() -> Value {
    schema_for!(Config).to_value()
}

/// What `skep config schema` prints.
#[must_use]
pub fn schema_text() -> String {
    // A JSON value always has a text.
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}

/// What `skep init` writes to `config.ron`: every option, commented. With `own_apps` the applications are those in `apps/`, which `init`
/// writes beside it; else those inside the binary.
#[must_use]
pub fn initial_text(own_apps: bool) -> String {
    if own_apps { COMMENTED.replace("path: \"embedded:", "path: \"apps/") } else { COMMENTED.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::parse::dialect;

    fn parse(text: &str) -> Config {
        dialect().from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The text with the code in comments made code again: it has no blank after the slashes.
    fn uncommented(text: &str) -> String {
        let line = |line: &str| match line.trim_start().strip_prefix("//") {
            Some(code) if !code.starts_with(' ') || code.starts_with("    ") => code.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(|text| line(text) + "\n").collect()
    }

    #[test]
    fn the_commented_file_is_the_built_in_configuration() {
        assert_eq!(parse(&initial_text(false)), Config::built_in());
        assert_ne!(parse(&initial_text(true)), Config::built_in());
    }

    #[test]
    fn what_is_commented_out_works_and_has_the_defaults() {
        use crate::apps::files::config::Files;
        use crate::config::{App, Server};
        use crate::servers::script::config::ScriptServer;
        let config = parse(&uncommented(COMMENTED));
        assert_eq!(config.apps["site"], App::Files(Files { root: "public".into(), ..Files::default() }));
        let listen = vec!["127.0.0.1:7000".parse().unwrap()];
        assert_eq!(config.servers["irc"], Server::Script(ScriptServer { listen, app: "examples".into(), ..ScriptServer::default() }));
        let Server::Http(web) = &config.servers["web"] else { panic!("web is an HTTP server") };
        assert_eq!(web.routes.len(), 12);
    }

    /// The names of all options in a schema.
    fn options(schema: &Value, found: &mut BTreeSet<String>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            // A variant is an object with one property of its own name, in capitals.
            found.extend(properties.keys().filter(|name| name.starts_with(char::is_lowercase)).cloned());
        }
        match schema {
            Value::Object(map) => map.values().for_each(|value| options(value, found)),
            Value::Array(list) => list.iter().for_each(|value| options(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_commented_file_has_every_option() {
        let mut names = BTreeSet::new();
        options(&schema(), &mut names);
        assert!(names.len() > 60, "{names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !COMMENTED.contains(&format!("{name}:"))).collect();
        assert!(missing.is_empty(), "config.ron lacks {missing:?}");
    }

    #[test]
    fn every_option_is_described() {
        fn undescribed(schema: &Value, found: &mut Vec<String>) {
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            for (name, property) in properties {
                let variant = name.starts_with(char::is_uppercase);
                if !variant && property.get("description").is_none() {
                    found.push(name.clone());
                }
            }
            match schema {
                Value::Object(map) => map.values().for_each(|value| undescribed(value, found)),
                Value::Array(list) => list.iter().for_each(|value| undescribed(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        undescribed(&schema(), &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
