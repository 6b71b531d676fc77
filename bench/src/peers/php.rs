//! PHP-FPM with enough workers for every connection that the web server keeps to it.

use std::net::SocketAddr;
use std::process::Command;

use super::{Prepared, SCRIPT, logged};
use crate::Result;
use crate::folder::Folder;

/// Debian's name of it.
const BINARY: &str = "php-fpm8.2";

pub fn version() -> Result<String> {
    let output = Command::new(BINARY).arg("-v").output().map_err(|error| format!("{BINARY}: {error}: tests/peers/cgi.sh installs it"))?;
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("PHP-FPM {}", text.split_whitespace().nth(1).unwrap_or_default()))
}

pub fn prepare(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    folder.write(
        SCRIPT,
        "<?php\n$body = 'Hello, ' . $_SERVER['REQUEST_URI'];\nheader('Content-Type: text/plain');\nheader('Content-Length: ' . strlen($body));\necho $body;\n",
    )?;
    let root = nix::unistd::geteuid().is_root();
    let user = if root { "user = root\ngroup = root\n" } else { "" };
    let config = folder.write(
        "fpm.conf",
        format!(
            "[global]\nerror_log = {}\ndaemonize = no\n[www]\n{user}listen = {address}\npm = static\npm.max_children = 16\nsecurity.limit_extensions =\n",
            folder.path().join("fpm.log").display()
        ),
    )?;
    let mut command = Command::new(BINARY);
    command.arg("--nodaemonize").arg("--fpm-config").arg(config);
    if root {
        command.arg("--allow-to-run-as-root");
    }
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}
