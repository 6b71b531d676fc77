//! fcgiwrap with a worker for each connection that the web server keeps to it.

use std::net::SocketAddr;
use std::process::Command;

use super::{Prepared, SCRIPT, logged};
use crate::Result;
use crate::folder::Folder;

pub fn version() -> String {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "fcgiwrap"]).output();
    // Without Debian's packages there is no version to be had: the program does not tell.
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    format!("fcgiwrap {}", text.split('-').next().unwrap_or_default())
}

/// What answers each request: a program that says which path it was asked for.
pub const PROGRAM: &str = "#!/bin/sh\n\
    body=\"Hello, $REQUEST_URI\"\n\
    printf 'Content-Type: text/plain\\r\\nContent-Length: %s\\r\\n\\r\\n%s' \"${#body}\" \"$body\"\n";

pub fn prepare(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    folder.write_program(SCRIPT, PROGRAM)?;
    let mut command = Command::new("fcgiwrap");
    command.arg("-c").arg("4").arg("-s").arg(format!("tcp:{address}"));
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}
