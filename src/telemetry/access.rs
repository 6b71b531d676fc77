//! The access log: one line a request, in the combined format, as JSON, or as the configuration says.

use std::io;
use std::sync::Arc;

use super::config::{self, AccessField, AccessFormat, AccessPiece};
use super::{Sink, clock, escape};

/// One answered request, borrowed for as long as its line is written. Empty texts are written as `-`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// When the answer was complete, milliseconds since the Unix epoch.
    pub epoch_ms: u64,
    /// The client's IP address, or `unix`.
    pub remote_addr: &'a str,
    /// The client's port; 0 for a unix socket.
    pub remote_port: u16,
    /// The user that HTTP authentication gave.
    pub user: &'a str,
    /// The method.
    pub method: &'a str,
    /// Path and query as received.
    pub uri: &'a [u8],
    /// `HTTP/1.1`.
    pub protocol: &'a str,
    /// The status sent.
    pub status: u16,
    /// Bytes of body sent.
    pub bytes: u64,
    /// Bytes of body received.
    pub received: u64,
    /// Microseconds from the first byte read to the last byte written.
    pub duration_us: u64,
    /// The host asked for.
    pub host: &'a [u8],
    /// The Referer header.
    pub referer: &'a [u8],
    /// The User-Agent header.
    pub user_agent: &'a [u8],
    /// The request's id, the same as in the application's log lines.
    pub request_id: &'a str,
    /// The server's name in the configuration.
    pub server: &'a str,
    /// The application's name in the configuration.
    pub app: &'a str,
}

/// An open access log.
#[derive(Debug)]
pub struct AccessLog {
    sink: Arc<Sink>,
    format: AccessFormat,
}

impl AccessLog {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(config: &config::AccessLog) -> io::Result<AccessLog> {
        Ok(AccessLog { sink: Sink::open(&config.file)?, format: config.format.clone() })
    }

    /// Appends the line of one request; it is written with the next [`super::flush`].
    pub fn log(&self, record: &Record<'_>) {
        self.sink.line(|out, most| match &self.format {
            AccessFormat::Combined => record.combined(out),
            AccessFormat::Json => record.json(out, most),
            AccessFormat::Custom(template) => {
                for piece in template.pieces() {
                    match piece {
                        AccessPiece::Text(text) => out.extend_from_slice(text.as_bytes()),
                        AccessPiece::Field(field) => record.field(out, *field),
                    }
                }
            }
        });
    }
}

impl Record<'_> {
    /// Apache's combined log format: `%h %l %u [%t] "%r" %>s %b "%{Referer}i" "%{User-agent}i"`.
    fn combined(&self, out: &mut Vec<u8>) {
        text(out, self.remote_addr.as_bytes());
        out.extend_from_slice(b" - ");
        text(out, self.user.as_bytes());
        out.extend_from_slice(b" [");
        out.extend_from_slice(&clock::combined(self.epoch_ms));
        out.extend_from_slice(b"] \"");
        text(out, self.method.as_bytes());
        out.push(b' ');
        text(out, self.uri);
        out.push(b' ');
        text(out, self.protocol.as_bytes());
        out.extend_from_slice(b"\" ");
        number(out, u64::from(self.status));
        out.push(b' ');
        number(out, self.bytes);
        out.extend_from_slice(b" \"");
        text(out, self.referer);
        out.extend_from_slice(b"\" \"");
        text(out, self.user_agent);
        out.push(b'"');
    }

    /// One object. Where a line must be short (a pipe), the client's long texts are left out rather than half an object written.
    fn json(&self, out: &mut Vec<u8>, most: usize) {
        let from = out.len();
        self.object(out);
        if out.len() - from > most {
            out.truncate(from);
            let short = Record { uri: &self.uri[..self.uri.len().min(256)], host: b"", referer: b"", user_agent: b"", ..*self };
            short.object(out);
        }
    }

    fn object(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(&clock::iso(self.epoch_ms));
        out.push(b'"');
        let head: [(&[u8], &[u8]); 5] = [
            (b",\"remote_addr\":", self.remote_addr.as_bytes()),
            (b",\"user\":", self.user.as_bytes()),
            (b",\"method\":", self.method.as_bytes()),
            (b",\"uri\":", self.uri),
            (b",\"protocol\":", self.protocol.as_bytes()),
        ];
        texts(out, &head);
        let numbers: [(&[u8], u64); 5] = [
            (b",\"remote_port\":", u64::from(self.remote_port)),
            (b",\"status\":", u64::from(self.status)),
            (b",\"bytes\":", self.bytes),
            (b",\"received\":", self.received),
            (b",\"worker\":", u64::from(std::process::id())),
        ];
        for (key, value) in numbers {
            out.extend_from_slice(key);
            number(out, value);
        }
        out.extend_from_slice(b",\"duration\":");
        seconds(out, self.duration_us);
        let tail: [(&[u8], &[u8]); 6] = [
            (b",\"host\":", self.host),
            (b",\"referer\":", self.referer),
            (b",\"user_agent\":", self.user_agent),
            (b",\"request_id\":", self.request_id.as_bytes()),
            (b",\"server\":", self.server.as_bytes()),
            (b",\"app\":", self.app.as_bytes()),
        ];
        texts(out, &tail);
        out.push(b'}');
    }

    fn field(&self, out: &mut Vec<u8>, field: AccessField) {
        let mut parts = self.uri.splitn(2, |&b| b == b'?');
        match field {
            AccessField::RemoteAddr => text(out, self.remote_addr.as_bytes()),
            AccessField::RemotePort => number(out, u64::from(self.remote_port)),
            AccessField::User => text(out, self.user.as_bytes()),
            AccessField::Time => out.extend_from_slice(&clock::combined(self.epoch_ms)),
            AccessField::TimeIso => out.extend_from_slice(&clock::iso(self.epoch_ms)),
            AccessField::Method => text(out, self.method.as_bytes()),
            AccessField::Uri => text(out, self.uri),
            AccessField::Path => text(out, parts.next().unwrap_or_default()),
            AccessField::Query => text(out, parts.nth(1).unwrap_or_default()),
            AccessField::Protocol => text(out, self.protocol.as_bytes()),
            AccessField::Status => number(out, u64::from(self.status)),
            AccessField::Bytes => number(out, self.bytes),
            AccessField::Received => number(out, self.received),
            AccessField::Duration => seconds(out, self.duration_us),
            AccessField::Host => text(out, self.host),
            AccessField::Referer => text(out, self.referer),
            AccessField::UserAgent => text(out, self.user_agent),
            AccessField::RequestId => text(out, self.request_id.as_bytes()),
            AccessField::Server => text(out, self.server.as_bytes()),
            AccessField::App => text(out, self.app.as_bytes()),
            AccessField::Worker => number(out, u64::from(std::process::id())),
        }
    }
}

fn texts(out: &mut Vec<u8>, fields: &[(&[u8], &[u8])]) {
    for (key, value) in fields {
        out.extend_from_slice(key);
        escape::json(out, value);
    }
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-');
    } else {
        escape::quoted(out, value);
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Microseconds as seconds with three decimals.
fn seconds(out: &mut Vec<u8>, micros: u64) {
    number(out, micros / 1_000_000);
    let millis = micros / 1000 % 1000;
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'static> = Record {
        epoch_ms: 971_211_336_123,
        remote_addr: "127.0.0.1",
        remote_port: 5000,
        user: "frank",
        method: "GET",
        uri: b"/apache_pb.gif?a=\"1\"",
        protocol: "HTTP/1.0",
        status: 200,
        bytes: 2326,
        received: 0,
        duration_us: 1_045_678,
        host: b"example.com",
        referer: b"",
        user_agent: b"Mozilla/4.08\n",
        request_id: "r1",
        server: "web",
        app: "site",
    };

    fn line(format: AccessFormat, record: &Record<'_>) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let file = config::LogFile::Path(path.clone());
        let log = AccessLog::open(&config::AccessLog { file, format }).expect("opened");
        log.log(record);
        drop(log);
        std::fs::read_to_string(path).expect("written when dropped")
    }

    #[test]
    fn combined_as_apache_writes_it_with_nothing_forged() {
        assert_eq!(
            line(AccessFormat::Combined, &RECORD),
            "127.0.0.1 - frank [10/Oct/2000:20:55:36 +0000] \"GET /apache_pb.gif?a=\\x221\\x22 HTTP/1.0\" 200 2326 \"-\" \"Mozilla/4.08\\x0A\"\n"
        );
    }

    #[test]
    fn json_is_one_object() {
        let value: serde_json::Value = serde_json::from_str(&line(AccessFormat::Json, &RECORD)).expect("JSON");
        assert_eq!(value["uri"], "/apache_pb.gif?a=\"1\"");
        assert_eq!(value["duration"], 1.045);
        assert_eq!(value["status"], 200);
        assert_eq!(value["worker"], std::process::id());
    }

    #[test]
    fn a_line_of_ones_own_has_every_field() {
        for (name, _) in AccessField::ALL {
            let template = format!("<${name}>").parse().expect("known");
            let line = line(AccessFormat::Custom(template), &RECORD);
            assert!(line.starts_with('<') && line.ends_with(">\n") && line.len() > 3, "{name}: {line}");
        }
        let template = "$path $query $duration $user_agent".parse().expect("known");
        assert_eq!(line(AccessFormat::Custom(template), &RECORD), "/apache_pb.gif a=\\x221\\x22 1.045 Mozilla/4.08\\x0A\n");
    }
}
