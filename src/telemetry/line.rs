//! One line of the log, as text or as JSON.

use std::fmt::{self, Write};

use super::config::{Level, LogFormat};
use super::sink::Sink;
use super::{Fields, clock, escape};

/// The longest text of one line, bytes: what a runaway message may take of the log.
const LONGEST_TEXT: usize = 32 << 10;

/// The text of a line, cut where it is too long. Before any lock is taken: what is formatted may log or panic itself.
pub(super) fn bounded(text: fmt::Arguments<'_>) -> String {
    let mut bounded = Bounded(String::new());
    // Only the bound ends it early, and then what fits is what is wanted.
    let _ = bounded.write_fmt(text);
    bounded.0
}

/// Formats a line into the sink.
pub(super) fn append(sink: &Sink, format: LogFormat, process: &str, level: Level, fields: Fields<'_>, text: &str) {
    let time = clock::iso(clock::epoch_ms());
    let pid = std::process::id();
    match format {
        LogFormat::Text => {
            let head = |out: &mut Vec<u8>| {
                out.extend_from_slice(&time);
                out.extend_from_slice(name(level).as_bytes());
                out.extend_from_slice(process.as_bytes());
                out.push(b'[');
                out.extend_from_slice(itoa::Buffer::new().format(pid).as_bytes());
                out.extend_from_slice(b"] ");
                for (key, value) in [("app=", fields.app), ("request=", fields.request)] {
                    if let Some(value) = value {
                        out.extend_from_slice(key.as_bytes());
                        escape::quoted(out, value.as_bytes());
                        out.push(b' ');
                    }
                }
            };
            sink.line(|out, most| {
                let from = out.len();
                head(out);
                escape::readable(out, text.as_bytes());
                out.truncate(out.len().min(from.saturating_add(most)));
            });
        }
        LogFormat::Json => sink.line(|out, most| {
            let from = out.len();
            let mut room = text.len();
            loop {
                out.truncate(from);
                json(out, &time, level, process, pid, fields, cut(text, room));
                if out.len() - from <= most || room == 0 {
                    break;
                }
                room /= 2;
            }
        }),
    }
}

fn json(out: &mut Vec<u8>, time: &[u8], level: Level, process: &str, pid: u32, fields: Fields<'_>, text: &str) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(name(level).trim_ascii().to_ascii_lowercase().as_bytes());
    out.extend_from_slice(b"\",\"process\":");
    escape::json(out, process.as_bytes());
    out.extend_from_slice(b",\"pid\":");
    out.extend_from_slice(itoa::Buffer::new().format(pid).as_bytes());
    for (key, value) in [(",\"app\":", fields.app), (",\"request\":", fields.request), (",\"message\":", Some(text))] {
        if let Some(value) = value {
            out.extend_from_slice(key.as_bytes());
            escape::json(out, value.as_bytes());
        }
    }
    out.push(b'}');
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => " ERROR ",
        Level::Warn => " WARN  ",
        Level::Info => " INFO  ",
        Level::Debug => " DEBUG ",
        Level::Trace => " TRACE ",
    }
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Takes text up to the bound and refuses the rest.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_TEXT - self.0.len();
        self.0.push_str(cut(text, room));
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::config::LogFile;
    use std::fs;

    fn written(log_format: LogFormat, fields: Fields<'_>, text: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("skep.log");
        let sink = Sink::open(&LogFile::Path(path.clone())).expect("opened");
        append(&sink, log_format, "worker 3", Level::Warn, fields, text);
        sink.flush();
        fs::read_to_string(path).expect("there")
    }

    #[test]
    fn a_text_line_has_time_level_process_fields_and_text() {
        let fields = Fields { request: Some("r1"), app: Some("chat") };
        let line = written(LogFormat::Text, fields, "first\nsecond");
        let (time, rest) = line.split_at(clock::ISO_BYTES);
        assert!(time.ends_with('Z'));
        assert_eq!(rest, format!(" WARN  worker 3[{}] app=chat request=r1 first\n    second\n", std::process::id()));
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = written(LogFormat::Json, Fields { request: None, app: Some("chat") }, "a \"quoted\"\nline");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["message"], "a \"quoted\"\nline");
        assert_eq!(
            (value["level"].as_str(), value["app"].as_str(), value["pid"].as_u64()),
            (Some("warn"), Some("chat"), Some(u64::from(std::process::id())))
        );
    }

    #[test]
    fn runaway_text_is_cut() {
        assert_eq!(bounded(format_args!("{}", "é".repeat(LONGEST_TEXT))).len(), LONGEST_TEXT);
    }
}
