use std::fmt::Write;
use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, complain, configuration, say};
use crate::config::{ADMIN, Settings};
use crate::master::{self, Options, Report};
use crate::net::Address;
use crate::units::counted;

/// serve in the foreground, until Ctrl-C
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
pub struct Run {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl Run {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        let file = configuration::file(config);
        let loaded = match configuration::load(file.as_deref()) {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let shown = if master::is_takeover() { None } else { Some(loaded.settings.clone()) };
        let started = move |result: Result<Report, String>| match (result, shown) {
            (Ok(report), Some(settings)) => say(&banner(&settings, &report)),
            (Err(why), Some(_)) => complain(&format!("skep cannot start: {why}")),
            (_, None) => {}
        };
        let options = Options { settings: loaded.settings, files_read: loaded.files_read, detached: false, started: Box::new(started) };
        match master::run(options) {
            0 => Exit::Fine,
            _ => Exit::Failed,
        }
    }
}

/// What the first screen shows: what runs, where, and how to go on.
fn banner(settings: &Settings, report: &Report) -> String {
    let config = match &settings.file {
        Some(file) => file.display().to_string(),
        None => "built-in defaults (write them out: skep init)".to_owned(),
    };
    let workers = counted(report.workers, "worker");
    let mut text = format!("skep {} · {workers} · config: {config}\n", env!("CARGO_PKG_VERSION"));
    for listener in &report.listeners {
        let (what, path, note) = if listener.server == ADMIN {
            let token = settings.data.join("admin.token");
            ("admin", "status", format!("the token is in {}", token.display()))
        } else {
            let server = settings.servers.get(&listener.server);
            let leads_to = |name: &&str| server.is_some_and(|server| server.leads_to(name));
            let apps: Vec<&str> = settings.apps.keys().map(String::as_str).filter(leads_to).collect();
            (listener.server.as_str(), "", apps.join(", "))
        };
        let place = match (&listener.address, settings.servers.get(&listener.server)) {
            (Address::Tcp(address), Some(crate::config::Server::Http(http))) if http.tls.is_some() => format!("https://{address}/{path}"),
            (Address::Tcp(address), Some(crate::config::Server::Http(_)) | None) => format!("http://{address}/{path}"),
            (address, _) => address.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<13} {place:<30} {note}");
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}
