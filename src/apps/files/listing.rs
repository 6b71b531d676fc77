//! The page that shows what is in a directory.

use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use crate::apps::target::{Target, is_visible};
use crate::codec::http::date;
use crate::codec::percent::encode_component;
use crate::request::file::{Refusal, Root};

/// More entries than this are not shown.
const MAX_ENTRIES: usize = 10_000;

struct Entry {
    name: String,
    directory: bool,
    size: u64,
    modified: SystemTime,
}

/// Renders the listing of a directory as HTML. May wait for a disk.
pub(super) fn render(root: &Root, target: &Target) -> Result<Vec<u8>, Refusal> {
    let directory = root.open_below(&target.path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, true)?;
    let handle = directory.as_fd().try_clone_to_owned()?;
    let mut entries = Vec::new();
    for found in Dir::from_fd(directory)?.iter() {
        let found = found?;
        let name = std::ffi::OsStr::from_bytes(found.file_name().to_bytes());
        // A name that is not UTF-8 cannot be asked for.
        let Some(name) = name.to_str().filter(|name| is_visible(name, target.path.is_empty())) else { continue };
        if name.contains(|c: char| c == '\\' || c.is_control()) {
            continue;
        }
        if let Some(entry) = describe(root, target, &handle, name) {
            entries.push(entry);
        }
        if entries.len() == MAX_ENTRIES {
            break;
        }
    }
    entries.sort_unstable_by(|left, right| right.directory.cmp(&left.directory).then_with(|| left.name.cmp(&right.name)));
    Ok(page(&entries, target).into_bytes())
}

/// What a name is; `None` for what would not be served: special files, and links that lead outside or nowhere.
fn describe(root: &Root, target: &Target, directory: &OwnedFd, name: &str) -> Option<Entry> {
    let mut status = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    if kind(&status) == SFlag::S_IFLNK {
        let opened = root.open_below(&target.join(name), OFlag::O_PATH, true).ok()?;
        status = fstat(&opened).ok()?;
    }
    let kind = kind(&status);
    if kind != SFlag::S_IFDIR && kind != SFlag::S_IFREG {
        return None;
    }
    let seconds = Duration::from_secs(u64::try_from(status.st_mtime).unwrap_or(0));
    Some(Entry {
        name: name.to_owned(),
        directory: kind == SFlag::S_IFDIR,
        size: u64::try_from(status.st_size).unwrap_or(0),
        modified: SystemTime::UNIX_EPOCH + seconds,
    })
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

fn page(entries: &[Entry], target: &Target) -> String {
    let mut title = String::from("/");
    escape(&target.path, &mut title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2em}}td{{padding:0 2em 0 0}}td+td{{color:#666;text-align:right}}</style>\n\
         <h1>{title}</h1>\n<table>\n"
    );
    if !target.path.is_empty() {
        html.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        let slash = if entry.directory { "/" } else { "" };
        html.push_str("<tr><td><a href=\"");
        encode_component(entry.name.as_bytes(), &mut html);
        html.push_str(slash);
        html.push_str("\">");
        escape(&entry.name, &mut html);
        let size = if entry.directory { String::new() } else { entry.size.to_string() };
        // Writing to a String cannot fail.
        let _ = writeln!(html, "{slash}</a></td><td>{size}</td><td>{}</td></tr>", date::format(entry.modified));
    }
    html.push_str("</table>\n");
    html
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
}
