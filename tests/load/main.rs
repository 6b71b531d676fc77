//! The server under load, and what is done to it meanwhile: nobody may notice.

mod faults;
mod generators;
mod hostile;
mod replacing;
mod slow;
mod spread;

#[path = "../support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use support::server::Site;

/// Held by the test that runs: two loads at the same time would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // A test that failed while it held the lock says nothing about the next one.
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An application that answers with its path.
const HELLO: &str = "local app = {}\n\nfunction app.request(req)\n    return \"Hello, \" .. req.path\nend\n\nreturn app\n";

/// A site with that application at every path.
fn hello(workers: &str) -> Site {
    let site = Site::new();
    site.write("apps/hello/main.luau", HELLO);
    site.configure(workers, APPS, ROUTES);
    site
}

const APPS: &str = "\"hello\": Script(path: \"apps/hello\")";
const ROUTES: &str = "(path: \"/\", app: \"hello\")";

/// A fixed number of workers.
fn workers(count: usize) -> String {
    format!("start: {count}, min: {count}, max: {count}, min_spare: 0, max_spare: {count}")
}
