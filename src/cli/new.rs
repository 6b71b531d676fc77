use std::fs;
use std::io;
use std::path::PathBuf;

use argh::FromArgs;

use super::init::write_new;
use super::{Exit, complain, say};

/// write a new application to begin with
#[derive(FromArgs)]
#[argh(subcommand, name = "new")]
pub struct New {
    /// the application's name: letters, digits, - and _
    #[argh(positional)]
    pub name: String,
}

const MAIN: &str = r#"--!strict
local skep = require("@skep")

local app = {}

-- Answers every request. A string is a page; see docs/ for what else it may be.
function app.request(req: skep.Request): skep.Reply
    return "Hello from NAME: " .. req.path
end

return app
"#;

impl New {
    pub fn execute(&self) -> Exit {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            complain("an application's name is letters, digits, - and _, 64 at most");
            return Exit::Usage;
        }
        let directory = PathBuf::from("apps").join(&self.name);
        let main = directory.join(crate::script::config::ENTRY);
        match fs::create_dir_all(&directory).and_then(|()| write_new(&main, &MAIN.replace("NAME", &self.name))) {
            Ok(()) => {
                say(&format!(
                    "wrote {}\nadd it to config.ron:\n    apps: {{ \"{name}\": Script(path: \"apps/{name}\") }}\nand a route to it, in a server:\n    routes: [(path: \"/{name}\", app: \"{name}\")]\n",
                    main.display(),
                    name = self.name
                ));
                Exit::Fine
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                complain(&format!("{} is there already and was left as it is", main.display()));
                Exit::Failed
            }
            Err(error) => {
                complain(&format!("cannot write {}: {error}", main.display()));
                Exit::Failed
            }
        }
    }
}
