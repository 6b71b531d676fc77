//! `skep configtest`: everything that a start would trip over.

use std::path::Path;

use super::load::load;
use super::probe::probe_listeners;
use super::problem::{Problem, Severity};
use super::settings::Settings;
use crate::net::Address;

/// What a test of a configuration found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The settings, if the file can be used. They cannot be, when it is only a listener that cannot be bound now.
    pub settings: Option<Settings>,
    /// Errors and warnings.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether a start would succeed, as far as can be known.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        !self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// What to print: every problem with its line, and a last line that says how it went.
    #[must_use]
    pub fn render(&self, path: Option<&Path>, colours: bool) -> String {
        let mut parts: Vec<String> = self.problems.iter().map(|problem| problem.render(colours)).collect();
        let name = path.map_or("the built-in configuration".to_owned(), |path| path.display().to_string());
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let warnings = self.problems.len() - errors;
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        parts.push(match (errors, warnings) {
            (0, 0) => format!("{name} is fine\n"),
            (0, _) => format!("{name} can be used, with {}\n", count(warnings, "warning")),
            _ => format!("{name} cannot be used: {}\n", count(errors, "error")),
        });
        parts.join("\n")
    }
}

/// Tests a configuration, the built-in one with no path. `running` is what a running instance of it has bound, which can thus be bound;
/// `bind`: also try to bind the others, and let go of them at once.
#[must_use]
pub fn configtest(path: Option<&Path>, running: &[Address], bind: bool) -> Report {
    match load(path) {
        Err(errors) => Report { settings: None, problems: errors.problems },
        Ok(loaded) => {
            let mut problems = loaded.warnings;
            if bind {
                problems.extend(probe_listeners(&loaded.settings, running));
            }
            Report { settings: Some(loaded.settings), problems }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.ron");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(taken.local_addr().unwrap());
        let text = format!(
            "Config(admin: (listen: []), servers: {{\"web\": Http(listen: [\"{address}\"], routes: [(path: \"/\", reply: (body: \"x\"))])}})"
        );
        std::fs::write(&file, text).unwrap();
        assert!(configtest(Some(&file), &[], false).is_fine());
        let report = configtest(Some(&file), &[], true);
        assert!(!report.is_fine());
        assert!(report.settings.is_some());
        let shown = report.render(Some(&file), false);
        assert!(shown.contains(&format!("the server `web` cannot listen on {address}: the address is in use")), "{shown}");
        assert!(shown.contains(&format!("(process {}) has it", std::process::id())), "{shown}");
        assert!(shown.ends_with("cannot be used: 1 error\n"), "{shown}");
        assert!(configtest(Some(&file), std::slice::from_ref(&address), true).is_fine());
    }
}
