//! A server made of the Centrifuge library for Go: tests/peers/realtime.sh builds it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::realtime::Liveness;
use super::{Prepared, logged};
use crate::Result;
use crate::folder::Folder;

const BINARY: &str = "target/peers/centrifuge-server";
/// Names the version that was built.
const MODULE: &str = "tests/peers/centrifuge/go.mod";

/// Whether it could be built here.
pub fn is_here() -> bool {
    Path::new(BINARY).exists()
}

pub fn version() -> Result<String> {
    let text = std::fs::read_to_string(MODULE)?;
    let version = text.split_whitespace().skip_while(|word| *word != "github.com/centrifugal/centrifuge").nth(1);
    Ok(format!("Centrifuge {}", version.unwrap_or_default().trim_start_matches('v')))
}

pub fn prepare(address: SocketAddr, liveness: Liveness) -> Result<Prepared> {
    let folder = Folder::new()?;
    let binary: PathBuf = std::path::absolute(BINARY)?;
    let mut command = Command::new(binary);
    command.arg("-listen").arg(address.to_string()).arg("-ping").arg(format!("{}s", liveness.0.as_secs()));
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}
