//! Directories of CGI programs, and programs behind FastCGI servers: what must be there is there.

use std::path::{Path, PathBuf};

use super::Checker;
use super::disk::readable_file;
use crate::apps::cgi::config::Cgi;
use crate::apps::fastcgi::config::FastCgiUpstream;
use crate::config::tree::Place;
use crate::units::{HumanDuration, HumanSize};

impl Checker<'_> {
    pub(super) fn cgi(&mut self, place: &Place, mut cgi: Cgi) -> Cgi {
        if cgi.root.as_os_str().is_empty() {
            self.error(place, "CGI programs need a directory: `root`");
            return cgi;
        }
        cgi.root = self.directory_to_read(&place.name("root"), &cgi.root);
        for (end, program) in &mut cgi.interpreters {
            let at = place.name("interpreters").name(end.as_str());
            if !end.starts_with('.') || end.len() < 2 || end.contains('/') {
                self.error(&at, format!("{end:?} is no end of a file name: write it with its dot, as in \".php\""));
            }
            *program = self.program(&at, program);
        }
        for (name, program) in &mut cgi.overrides.binpath {
            *program = self.program(&place.name("overrides").name("binpath").name(name.as_str()), program);
        }
        self.index(place, &cgi.index);
        for (name, value) in &cgi.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                self.error(&place.name("env").name(name.as_str()), format!("{name:?} is no variable of an environment"));
            }
        }
        for (index, path) in cgi.sendfile_roots.iter_mut().enumerate() {
            *path = self.directory_to_read(&place.name("sendfile_roots").index(index), path);
        }
        let overrides = place.name("overrides");
        for (name, paths) in [("chroot", &mut cgi.overrides.chroot), ("cwd", &mut cgi.overrides.cwd)] {
            for (index, path) in paths.iter_mut().enumerate() {
                *path = self.directory_to_read(&overrides.name(name).index(index), path);
            }
        }
        self.overridden_accounts(&overrides, &cgi);
        self.at_least(&place.name("timeout"), cgi.timeout, HumanDuration::milliseconds(1));
        self.at_least(&place.name("max_processes"), cgi.max_processes, 1);
        if let Some(most) = cgi.max_output {
            self.at_least(&place.name("max_output"), most, HumanSize::bytes(1));
        }
        cgi
    }

    /// Users and groups that programs may run as. Those of a root directory of its own are looked up by the workers.
    fn overridden_accounts(&mut self, place: &Place, cgi: &Cgi) {
        if self.chroot.is_some() {
            return;
        }
        for (index, name) in cgi.overrides.setuser.iter().enumerate() {
            if self.accounts.user(name).is_none() {
                self.error(&place.name("setuser").index(index), format!("there is no user `{name}` on this machine"));
            }
        }
        for (index, name) in cgi.overrides.setgroup.iter().enumerate() {
            if self.accounts.group(name).is_none() {
                self.error(&place.name("setgroup").index(index), format!("there is no group `{name}` on this machine"));
            }
        }
    }

    pub(super) fn fastcgi_upstream(&mut self, place: &Place, mut upstream: FastCgiUpstream) -> FastCgiUpstream {
        if !upstream.root.is_absolute() {
            self.error_with(
                &place.name("root"),
                "the directory of the programs is missing, as their server sees it",
                Some("from its root, as in \"/var/www\"".to_owned()),
            );
        }
        match upstream.address.clone().under(self.base) {
            Ok(address) => upstream.address = address,
            Err(error) => self.error(&place.name("address"), error.to_string()),
        }
        if let Some(path) = upstream.address.socket_mut() {
            let path = path.clone();
            self.inside_chroot(&place.name("address"), &path);
        }
        for (index, end) in upstream.split.iter().enumerate() {
            if end.is_empty() || end.contains('/') {
                self.error(&place.name("split").index(index), format!("{end:?} is no end of a file name, such as \".php\""));
            }
        }
        self.index(place, std::slice::from_ref(&upstream.index));
        for (index, path) in upstream.sendfile_roots.iter_mut().enumerate() {
            *path = self.directory_to_read(&place.name("sendfile_roots").index(index), path);
        }
        self.at_least(&place.name("max_connections"), upstream.max_connections, 1);
        let times = place.name("timeouts");
        for (name, time) in [("connect", upstream.timeouts.connect), ("head", upstream.timeouts.head), ("body", upstream.timeouts.body)] {
            self.at_least(&times.name(name), time, HumanDuration::milliseconds(1));
        }
        upstream
    }

    /// A program that the workers start. One that is missing keeps nobody else from being served.
    fn program(&mut self, place: &Place, path: &Path) -> PathBuf {
        if path.is_relative() {
            self.error_with(
                place,
                format!("{} is not looked for: an interpreter is named by its whole path", path.display()),
                Some("as in \"/usr/bin/python3\"".to_owned()),
            );
            return path.to_owned();
        }
        let path = self.absolute(place, path);
        self.inside_chroot(place, &path);
        if let Err(message) = readable_file(&path) {
            self.warning(place, message);
        }
        path
    }
}
