//! Who may import whom inside `src/`.
//!
//! A room may import rooms of lower layers, never of higher ones. Rooms of one layer may import each other in one direction only.
//! What the master and the codecs must not touch is written here too.

use std::collections::{BTreeMap, BTreeSet};

use crate::paths;
use crate::source::Source;

/// From the top down. Every room of `src/` is in exactly one layer.
pub const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["master"],
    &["worker", "hub"],
    &["process"],
    &["config"],
    &["servers", "apps", "admin"],
    &["script"],
    &["clients"],
    &["link", "events", "program", "request", "rtep", "store", "websocket"],
    &["codec", "net"],
    &["reactor"],
    &["telemetry", "limiter", "scoreboard", "sys", "secret", "units"],
];

/// Rooms whose folders are siblings: one server does not know another, and gets what it needs from above.
const FAMILIES: &[&str] = &["servers", "apps", "clients"];

/// Rooms of one layer that must not know each other at all: a server is handed its handler, it does not look one up.
const STRANGERS: &[(&str, &str)] = &[("servers", "apps"), ("apps", "servers")];

/// Words that must not stand in the code of a room, with the reason.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "master",
        &["crate::reactor", "async_task", "async_channel", "blocking", "futures_lite"],
        "the master forks, so it runs no executor and starts no thread",
    ),
    (
        "codec",
        &["Instant::now", "SystemTime::now", "TcpStream", "UdpSocket", "UnixStream", "std::fs", "getrandom"],
        "a codec has no socket, no clock and no randomness: bytes in, events out",
    ),
];

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// Checks every file of `src/`; the rest is ignored.
pub fn check(sources: &[Source]) -> Vec<String> {
    let sources: Vec<&Source> = sources.iter().filter(|s| s.is_rust() && s.is_under("src")).collect();
    let rooms: BTreeSet<String> = sources.iter().filter_map(|s| s.module().into_iter().next()).collect();
    let folders: BTreeSet<Vec<String>> = sources
        .iter()
        .map(|s| s.module())
        .filter(|m| m.len() >= 2 && FAMILIES.contains(&m[0].as_str()))
        .filter(|m| sources.iter().any(|s| s.path.starts_with(format!("src/{}/{}", m[0], m[1]))))
        .map(|m| m[..2].to_vec())
        .collect();

    let mut problems: Vec<String> = rooms
        .iter()
        .filter(|room| layer(room).is_none())
        .map(|room| format!("src/{room}: no layer: put the room into LAYERS of tests/tidy/layers.rs and into ARCHITECTURE.md"))
        .collect();
    let mut sideways: BTreeMap<(String, String), String> = BTreeMap::new();
    for source in &sources {
        // The root of the library is the map of all rooms, and the binary only calls it.
        let Some(from) = source.module().into_iter().next() else { continue };
        for import in paths::imports(source) {
            let Some(to) = import.path.first().filter(|name| rooms.contains(*name)) else { continue };
            let place = format!("{}:{}", source.path.display(), source.line_of(import.offset));
            problems.extend(judge(&place, &from, to, &mut sideways));
            problems.extend(siblings(&place, source, &import.path, &folders));
        }
        problems.extend(absent(source, &from));
    }
    problems
}

/// One import of room `to` in a file of room `from`.
fn judge(place: &str, from: &str, to: &str, sideways: &mut BTreeMap<(String, String), String>) -> Option<String> {
    let (above, below) = (layer(from)?, layer(to)?);
    if from == to {
        return None;
    }
    if below < above {
        return Some(format!("{place}: {from} imports {to}, which is above it"));
    }
    if below == above {
        if STRANGERS.contains(&(from, to)) {
            return Some(format!("{place}: {from} imports {to}: it must be handed what it needs"));
        }
        if let Some(other) = sideways.get(&(to.to_owned(), from.to_owned())) {
            return Some(format!("{place}: {from} imports {to}, which imports {from} ({other}): rooms of one layer go one way"));
        }
        sideways.entry((from.to_owned(), to.to_owned())).or_insert_with(|| place.to_owned());
    }
    None
}

/// `servers/http` must not reach into `servers/lock`.
fn siblings(place: &str, source: &Source, path: &[String], folders: &BTreeSet<Vec<String>>) -> Option<String> {
    let own = source.module();
    let target = path.get(..2)?;
    let own_folder = own.get(..2)?;
    let both_folders = folders.contains(target) && folders.contains(own_folder);
    (both_folders && own[0] == target[0] && own_folder != target)
        .then(|| format!("{place}: {} imports its sibling {}", own_folder.join("/"), target.join("/")))
}

fn absent(source: &Source, room: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (_, words, reason) in ABSENT.iter().filter(|(name, ..)| *name == room) {
        for word in *words {
            for at in source.words(word) {
                problems.push(format!("{}:{}: `{word}` in {room}: {reason}", source.path.display(), source.line_of(at)));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::Source;

    /// A tree in which every planted file stands beside a valid one for each room it names.
    fn tree(planted: &[(&str, &str)]) -> Vec<Source> {
        let rooms = ["cli", "master", "worker", "config", "servers", "apps", "codec", "net", "reactor", "telemetry", "sys"];
        let mut sources: Vec<Source> = rooms.iter().map(|room| Source::new(format!("src/{room}/mod.rs"), "")).collect();
        sources.extend(planted.iter().map(|(path, text)| Source::new(*path, *text)));
        sources
    }

    fn only(planted: &[(&str, &str)], expected: &str) {
        let problems = check(&tree(planted));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expected), "{problems:?}");
    }

    #[test]
    fn downwards_is_fine() {
        assert_eq!(
            check(&tree(&[("src/servers/http/mod.rs", "use crate::{net::Stream, reactor::{spawn, Scope}};\nuse crate::codec;")])),
            [""; 0]
        );
    }

    #[test]
    fn upwards_is_found_in_every_form() {
        only(&[("src/net/stream.rs", "\nuse crate::servers::http::Server;")], "src/net/stream.rs:2: net imports servers");
        only(&[("src/net/stream.rs", "use crate::{reactor::Io, worker};")], "net imports worker");
        only(&[("src/net/stream.rs", "fn f() { crate::cli::run() }")], "net imports cli");
        only(&[("src/net/stream.rs", "use super::super::config;")], "net imports config");
        only(&[("src/net/mod.rs", "mod tests { use super::super::config::Settings; }")], "net imports config");
    }

    #[test]
    fn names_that_only_look_like_rooms_are_left_alone() {
        assert_eq!(
            check(&tree(&[(
                "src/net/x.rs",
                "// use crate::cli;\nlet a = \"crate::cli\"; use super::config; mod tests { use super::worker; }"
            )])),
            [""; 0]
        );
    }

    #[test]
    fn siblings_are_strangers() {
        let files = ("src/apps/files/mod.rs", "use crate::apps::cgi::Cgi;");
        let cgi = ("src/apps/cgi/mod.rs", "use crate::apps::App;");
        only(&[files, cgi], "apps/files imports its sibling apps/cgi");
        only(&[("src/apps/files/send.rs", "use super::super::cgi;"), cgi], "apps/files imports its sibling apps/cgi");
        only(&[("src/servers/http/mod.rs", "use crate::apps::App;")], "servers imports apps");
    }

    #[test]
    fn one_layer_goes_one_way() {
        only(&[("src/net/a.rs", "use crate::codec::B;"), ("src/codec/b.rs", "use crate::net::A;")], "rooms of one layer go one way");
    }

    #[test]
    fn the_master_runs_no_executor_and_a_codec_has_no_clock() {
        only(&[("src/master/mod.rs", "use crate::reactor::spawn;")], "the master forks");
        only(&[("src/codec/x.rs", "let t = std::time::Instant::now();")], "no clock");
    }

    #[test]
    fn a_room_without_a_layer_is_found() {
        only(&[("src/attic/mod.rs", "")], "src/attic: no layer");
    }
}
