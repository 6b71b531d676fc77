//! Redis, which keeps everything in memory and nothing on the disk here.

use std::net::SocketAddr;
use std::process::Command;

use super::{Prepared, logged};
use crate::Result;
use crate::folder::Folder;

pub fn version() -> Result<String> {
    let output = Command::new("redis-server").arg("--version").output().map_err(|error| format!("redis-server: {error}"))?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or_default();
    Ok(format!("Redis {version}"))
}

pub fn prepare(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    let mut command = Command::new("redis-server");
    command.arg("--bind").arg(address.ip().to_string()).arg("--port").arg(address.port().to_string());
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"]).arg(folder.path());
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}
