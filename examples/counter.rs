//! A program of its own that embeds skep: one application in Rust beside the bundled ones, with the same command line, configuration,
//! workers and panel.
//!
//! ```text
//! cargo run --example counter -- run --config examples/counter.ron
//! curl http://127.0.0.1:8047/
//! ```

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use skep::{App, Request, Response, StartError};

/// Counts the requests of one worker.
struct Counter {
    count: Cell<u64>,
    step: u64,
}

/// `config` of the application in the configuration file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What one request adds.
    #[serde(default = "one")]
    step: u64,
}

fn one() -> u64 {
    1
}

impl App for Counter {
    type Config = Config;

    async fn start(config: Config) -> Result<Self, StartError> {
        if config.step == 0 {
            return Err(StartError("`step` must be at least 1: a counter that stands still counts nothing".into()));
        }
        Ok(Self { count: Cell::new(0), step: config.step })
    }

    async fn request(self: Rc<Self>, request: Request) -> Response {
        self.count.set(self.count.get() + self.step);
        Response::text(200, format!("{} requests, the last for {}\n", self.count.get(), request.path()))
    }
}

fn main() -> ExitCode {
    skep::register::<Counter>("counter");
    skep::main()
}
