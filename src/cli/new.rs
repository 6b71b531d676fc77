use std::path::{Path, PathBuf};

use argh::FromArgs;

use super::init::write_new;
use super::{Exit, complain, editor, say};
use crate::script::embedded;

/// The application that new ones begin as.
const MODEL: &str = "hello";

/// write a new application to begin with, to apps/NAME, and what editors need to know skep's modules
#[derive(FromArgs)]
#[argh(subcommand, name = "new")]
pub struct New {
    /// the application's name: letters, digits, - and _
    #[argh(positional)]
    pub name: String,
}

impl New {
    pub fn execute(self) -> Exit {
        let name = self.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            complain("an application's name is letters, digits, - and _, 64 at most");
            return Exit::Usage;
        }
        let directory = PathBuf::from("apps").join(&name);
        if directory.exists() {
            complain(&format!("{} is there already and was left as it is", directory.display()));
            return Exit::Failed;
        }
        for (path, bytes) in embedded::files(MODEL) {
            let below = Path::new(path).strip_prefix(MODEL).unwrap_or(Path::new(path));
            if let Err(why) = write_new(&directory.join(below), bytes) {
                complain(&why);
                return Exit::Failed;
            }
        }
        let note = match editor::write(Path::new(".")) {
            Ok(None) => String::new(),
            Ok(Some(missing)) => format!("for editors, add this to .luaurc: {missing}\n"),
            Err(why) => {
                complain(&why);
                return Exit::Failed;
            }
        };
        say(&format!(
            "wrote {}, and types for editors to types/skep\n{note}add it to config.ron:\n    apps: {{ \"{name}\": Script(path: \"apps/{name}\") }},\nand a route to it, in a server:\n    \
             routes: [(path: \"/{name}\", app: \"{name}\")],\n",
            directory.display()
        ));
        Exit::Fine
    }
}
