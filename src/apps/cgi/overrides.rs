//! What a front says about a program, as far as the configuration lets it: `BINPATH`, `CHROOT`, `SETUSER`, `SETGROUP` and `CWD`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::config::Overrides;
use crate::request::{Parameters, StartError};
use crate::sys::accounts::{Accounts, User};
use crate::sys::program::Standing;

/// What may be said, looked up once.
#[derive(Debug)]
pub(super) struct Allowed {
    interpreters: BTreeMap<String, PathBuf>,
    roots: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    /// Users with all groups that they are in.
    users: BTreeMap<String, (User, Vec<u32>)>,
    groups: BTreeMap<String, u32>,
}

/// What was said and may not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAllowed {
    name: &'static str,
    value: String,
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the front says {}={:?}, which `overrides` does not allow", self.name, self.value)
    }
}

/// How a program is run in the place of how the configuration says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) interpreter: Option<PathBuf>,
    pub(super) root: Option<PathBuf>,
    pub(super) directory: Option<PathBuf>,
    user: Option<u32>,
    groups: Option<(u32, Vec<u32>)>,
}

impl Allowed {
    /// Looks the names up.
    ///
    /// # Errors
    /// A user or group that does not exist.
    pub(super) fn new(config: &Overrides) -> Result<Self, StartError> {
        let accounts = if config.setuser.is_empty() && config.setgroup.is_empty() { Ok(Accounts::default()) } else { Accounts::load() };
        let accounts = accounts.map_err(|error| StartError(format!("users and groups cannot be read: {error}")))?;
        let mut allowed = Self {
            interpreters: config.binpath.clone(),
            roots: config.chroot.clone(),
            directories: config.cwd.clone(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        for name in &config.setuser {
            let user = accounts.user(name).ok_or_else(|| StartError(format!("there is no user {name}")))?;
            let groups = accounts.groups_of(&user.name, user.gid);
            allowed.users.insert(name.clone(), (user, groups));
        }
        for name in &config.setgroup {
            let group = accounts.group(name).ok_or_else(|| StartError(format!("there is no group {name}")))?;
            allowed.groups.insert(name.clone(), group);
        }
        Ok(allowed)
    }

    /// Reads what a front says. An empty value says nothing.
    ///
    /// # Errors
    /// The first that is not allowed: to go on without it could run a program as somebody that it was not meant to be.
    pub(super) fn read(&self, parameters: &Parameters) -> Result<Said, NotAllowed> {
        let mut said = Said::default();
        for name in ["BINPATH", "CHROOT", "CWD", "SETUSER", "SETGROUP"] {
            let Some(value) = parameters.get(name).filter(|value| !value.is_empty()) else { continue };
            let refused = || NotAllowed { name, value: String::from_utf8_lossy(value).into_owned() };
            let value = std::str::from_utf8(value).map_err(|_| refused())?;
            match name {
                "BINPATH" => said.interpreter = Some(self.interpreters.get(value).ok_or_else(refused)?.clone()),
                "CHROOT" => said.root = Some(below(value, &self.roots).ok_or_else(refused)?),
                "CWD" => said.directory = Some(below(value, &self.directories).ok_or_else(refused)?),
                "SETUSER" => {
                    let (user, groups) = self.users.get(value).ok_or_else(refused)?;
                    said.user = Some(user.uid);
                    said.groups = Some((user.gid, groups.clone()));
                }
                _ => {
                    let group = *self.groups.get(value).ok_or_else(refused)?;
                    said.groups = Some((group, vec![group]));
                }
            }
        }
        Ok(said)
    }
}

/// A path that is one of these directories or lies below one, by its name.
fn below(path: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    (plain && directories.iter().any(|directory| path.starts_with(directory))).then(|| path.to_owned())
}

impl Said {
    /// A path of ours as the program sees it; `None` when it lies outside its root.
    pub(super) fn inside(&self, path: &Path) -> Option<PathBuf> {
        match &self.root {
            Some(root) => path.strip_prefix(root).ok().map(|rest| Path::new("/").join(rest)),
            None => Some(path.to_owned()),
        }
    }

    /// Who the program is and where it stands; `directory` is where it runs unless the front says otherwise, as it sees it.
    pub(super) fn standing(&self, directory: &Path) -> io::Result<Standing> {
        use std::os::unix::ffi::OsStrExt;
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
        let directory = match &self.directory {
            Some(said) => self.inside(said).unwrap_or_else(|| said.clone()),
            None => directory.to_owned(),
        };
        Ok(Standing {
            root: self.root.as_deref().map(text).transpose()?,
            directory: Some(text(&directory)?),
            groups: self.groups.clone(),
            user: self.user,
            dies_with: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(allowed: &Overrides, said: &[(&str, &str)]) -> Result<Said, String> {
        let mut parameters = Parameters::default();
        for (name, value) in said {
            parameters.push(name, value.as_bytes());
        }
        Allowed::new(allowed).unwrap().read(&parameters).map_err(|refused| refused.to_string())
    }

    fn allowed() -> Overrides {
        Overrides {
            binpath: [("php7".to_owned(), "/opt/php7".into())].into(),
            chroot: vec!["/srv/jails".into()],
            setuser: vec!["61001".to_owned()],
            setgroup: vec!["61002".to_owned()],
            cwd: vec!["/srv".into()],
        }
    }

    #[test]
    fn nothing_is_allowed_by_itself() {
        for name in ["BINPATH", "CHROOT", "CWD", "SETUSER", "SETGROUP"] {
            let refused = read(&Overrides::default(), &[(name, "/")]).unwrap_err();
            assert_eq!(refused, format!("the front says {name}=\"/\", which `overrides` does not allow"));
        }
        assert_eq!(read(&Overrides::default(), &[("CWD", ""), ("PATH", "/x")]), Ok(Said::default()));
    }

    #[test]
    fn only_what_is_named_is_allowed() {
        let said = read(
            &allowed(),
            &[("BINPATH", "php7"), ("CHROOT", "/srv/jails/a"), ("CWD", "/srv/jails/a/b"), ("SETUSER", "61001"), ("SETGROUP", "61002")],
        );
        let said = said.unwrap();
        assert_eq!(said.interpreter.as_deref(), Some(Path::new("/opt/php7")));
        let standing = said.standing(Path::new("/unused")).unwrap();
        assert_eq!((standing.root.as_deref(), standing.directory.as_deref()), (Some(c"/srv/jails/a"), Some(c"/b")));
        assert_eq!((standing.user, standing.groups), (Some(61_001), Some((61_002, vec![61_002]))));
        assert_eq!(said.inside(Path::new("/srv/jails/a/x.php")), Some("/x.php".into()));
        assert_eq!(said.inside(Path::new("/srv/x.php")), None);
        for (name, value) in [
            ("BINPATH", "/opt/php7"),
            ("CHROOT", "/srv/jails/../.."),
            ("CHROOT", "/srv/jailsx"),
            ("CWD", "srv"),
            ("SETUSER", "root"),
            ("SETGROUP", "0"),
        ] {
            assert!(read(&allowed(), &[(name, value)]).is_err(), "{name} {value}");
        }
    }
}
