use argh::FromArgs;

use super::{Exit, say};
use crate::config::schema_text;

/// what a configuration may say
#[derive(FromArgs)]
#[argh(subcommand, name = "config")]
pub struct Config {
    #[argh(subcommand)]
    what: What,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum What {
    Schema(Schema),
}

/// print the JSON Schema of config.ron
#[derive(FromArgs)]
#[argh(subcommand, name = "schema")]
struct Schema {}

impl Config {
    pub fn execute(&self) -> Exit {
        match self.what {
            What::Schema(_) => say(&schema_text()),
        }
        Exit::Fine
    }
}
