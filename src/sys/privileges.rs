//! Giving up what the master may and its children must not: root, its groups, the whole file system, new privileges by exec.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{self, Gid, Uid};

use super::accounts::{Accounts, User};

/// What a child should become; looked up before the fork, since the account files are not in a chroot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The user to become; `None` stays who it is.
    pub user: Option<User>,
    /// The group; `None`: the user's own.
    pub group: Option<u32>,
    /// Supplementary groups, the main one included.
    pub groups: Vec<u32>,
    /// The new root directory.
    pub chroot: Option<PathBuf>,
    /// The working directory, as seen inside the new root.
    pub cwd: Option<PathBuf>,
}

/// Why the child may not go on: what was asked for did not happen.
#[derive(Debug)]
pub enum PrivilegeError {
    /// No such user in `/etc/passwd`.
    NoUser(String),
    /// No such group in `/etc/group`.
    NoGroup(String),
    /// The account files could not be read.
    Accounts(io::Error),
    /// A system call refused.
    Refused {
        /// What was tried, in words.
        what: String,
        /// The kernel's answer.
        error: Errno,
    },
    /// Every call said yes, and still the process has what it gave up.
    NotGone(&'static str),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::NoUser(name) => write!(f, "user {name:?} does not exist on this machine"),
            PrivilegeError::NoGroup(name) => write!(f, "group {name:?} does not exist on this machine"),
            PrivilegeError::Accounts(error) => write!(f, "users and groups cannot be read: {error}"),
            PrivilegeError::Refused { what, error } => write!(f, "cannot {what}: {}", error.desc()),
            PrivilegeError::NotGone(what) => write!(f, "privileges were dropped, but {what}"),
        }
    }
}

impl std::error::Error for PrivilegeError {}

impl Target {
    /// Looks names up. As a normal user nothing is looked up for a change that cannot happen anyway.
    ///
    /// # Errors
    /// The user or the group does not exist, or the account files cannot be read.
    pub fn find(user: Option<&str>, group: Option<&str>, chroot: Option<&Path>, cwd: Option<&Path>) -> Result<Target, PrivilegeError> {
        let accounts = Accounts::load().map_err(PrivilegeError::Accounts)?;
        let root = Uid::effective().is_root();
        let mut target = Target { chroot: chroot.map(Path::to_owned), cwd: cwd.map(Path::to_owned), ..Target::default() };
        if let Some(name) = user {
            match accounts.user(name) {
                None if root => return Err(PrivilegeError::NoUser(name.to_owned())),
                found => target.user = found,
            }
        }
        if let Some(name) = group {
            match accounts.group(name) {
                None if root => return Err(PrivilegeError::NoGroup(name.to_owned())),
                found => target.group = found,
            }
        }
        if let Some(gid) = target.gid() {
            target.groups = match &target.user {
                Some(user) => accounts.groups_of(&user.name, gid),
                None => vec![gid],
            };
        }
        Ok(target)
    }

    fn gid(&self) -> Option<u32> {
        self.group.or_else(|| self.user.as_ref().map(|u| u.gid))
    }

    /// What this process could not do of it, in words, without trying: for `configtest` and for the log of a normal user.
    #[must_use]
    pub fn impossible(&self) -> Vec<String> {
        if Uid::effective().is_root() {
            return Vec::new();
        }
        let own = Uid::effective().as_raw();
        let mut missing = Vec::new();
        if let Some(user) = &self.user
            && user.uid != own
        {
            missing.push(format!("user {} needs root; goes on as uid {own}", user.name));
        }
        if let Some(gid) = self.group
            && gid != Gid::effective().as_raw()
            && self.user.as_ref().is_none_or(|u| u.uid != own || u.gid != gid)
        {
            missing.push(format!("group {gid} needs root; goes on as gid {}", Gid::effective()));
        }
        if let Some(root) = &self.chroot {
            missing.push(format!("chroot to {} needs root; goes on in the whole file system", root.display()));
        }
        missing
    }

    /// Changes root, directory, groups and user for good, forbids new privileges, and checks that it is so. For a child, right after
    /// the fork. As a normal user it does what one may (the directory, no new privileges) and returns what was left out, in words.
    ///
    /// # Errors
    /// Anything that root should have been able to do failed: the child must not go on.
    pub fn enter(&self) -> Result<Vec<String>, PrivilegeError> {
        let missing = self.impossible();
        let root = Uid::effective().is_root();
        if root && let Some(directory) = &self.chroot {
            tried(format!("change root to {}", directory.display()), unistd::chroot(directory))?;
            tried("enter the new root".to_owned(), unistd::chdir("/"))?;
        }
        if let Some(directory) = &self.cwd {
            tried(format!("change to directory {}", directory.display()), unistd::chdir(directory))?;
        }
        if root {
            self.become_user()?;
        }
        tried("forbid new privileges".to_owned(), prctl::set_no_new_privs())?;
        Ok(missing)
    }

    fn become_user(&self) -> Result<(), PrivilegeError> {
        if let Some(gid) = self.gid() {
            let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
            tried("set the supplementary groups".to_owned(), unistd::setgroups(&groups))?;
            let gid = Gid::from_raw(gid);
            tried(format!("become group {gid}"), unistd::setresgid(gid, gid, gid))?;
            let now = tried("read the group".to_owned(), unistd::getresgid())?;
            if [now.real, now.effective, now.saved] != [gid; 3] {
                return Err(PrivilegeError::NotGone("the group is still another"));
            }
        }
        if let Some(user) = &self.user {
            let uid = Uid::from_raw(user.uid);
            tried(format!("become user {}", user.name), unistd::setresuid(uid, uid, uid))?;
            let now = tried("read the user".to_owned(), unistd::getresuid())?;
            if [now.real, now.effective, now.saved] != [uid; 3] {
                return Err(PrivilegeError::NotGone("the user is still another"));
            }
            let root = Uid::from_raw(0);
            if !uid.is_root() && unistd::setresuid(root, root, root).is_ok() {
                return Err(PrivilegeError::NotGone("root can be had back"));
            }
        }
        Ok(())
    }
}

/// Has the kernel kill this process when its parent ends, and checks that the parent has not ended already. After any change of
/// user, which clears it (prctl(2), PR_SET_PDEATHSIG).
///
/// # Errors
/// The parent has gone, or the kernel refuses.
pub fn die_with_parent(parent: i32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if unistd::getppid().as_raw() != parent {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the master ended while this process started"));
    }
    Ok(())
}

fn tried<T>(what: String, result: nix::Result<T>) -> Result<T, PrivilegeError> {
    result.map_err(|error| PrivilegeError::Refused { what, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::{Forked, exit_now};
    use nix::sys::wait::{WaitStatus, waitpid};

    #[test]
    fn unknown_names_are_errors_for_root_and_no_matter_for_others() {
        let found = Target::find(Some("no-such-user"), None, None, None);
        if Uid::effective().is_root() {
            assert_eq!(found.unwrap_err().to_string(), "user \"no-such-user\" does not exist on this machine");
        } else {
            assert_eq!(found.expect("skipped").user, None);
        }
    }

    /// Runs `check` in a forked child (the test harness has threads, so the raw call is used) and expects its exit code.
    fn in_child(check: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child only makes system calls and small allocations, then leaves; glibc's malloc survives a fork.
        match unsafe { unistd::fork() }.expect("fork") {
            unistd::ForkResult::Child => exit_now(check()),
            unistd::ForkResult::Parent { child } => match waitpid(child, None).expect("own child") {
                WaitStatus::Exited(_, code) => code,
                other => panic!("the child ended by {other:?}"),
            },
        }
    }

    #[test]
    fn root_becomes_somebody_else_for_good() {
        if !Uid::effective().is_root() {
            return;
        }
        let target = Target {
            user: Some(User { name: "somebody".into(), uid: 61_001, gid: 61_002 }),
            group: None,
            groups: vec![61_002, 61_003],
            chroot: Some("/".into()),
            cwd: Some("/".into()),
        };
        let code = in_child(|| {
            let Ok(missing) = target.enter() else { return 1 };
            let uids = unistd::getresuid().map(|u| [u.real, u.effective, u.saved].map(Uid::as_raw));
            let groups = unistd::getgroups().map(|g| g.into_iter().map(Gid::as_raw).collect::<Vec<_>>());
            if !missing.is_empty() || uids != Ok([61_001; 3]) || groups != Ok(vec![61_002, 61_003]) {
                return 2;
            }
            i32::from(prctl::get_no_new_privs() != Ok(true)) * 3
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn a_normal_user_goes_on_and_says_what_it_could_not_do() {
        let target = Target {
            user: Some(User { name: "other".into(), uid: 61_001, gid: 61_001 }),
            group: None,
            groups: vec![61_001],
            chroot: Some("/srv".into()),
            cwd: Some("/".into()),
        };
        let code = in_child(|| {
            let uid = Uid::from_raw(61_009);
            if Uid::effective().is_root() && unistd::setresuid(uid, uid, uid).is_err() {
                return 1;
            }
            match target.enter() {
                Ok(missing) if missing.len() == 2 && missing[0].contains("user other needs root") => 0,
                Ok(_) => 2,
                Err(_) => 3,
            }
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn a_child_whose_parent_is_another_does_not_start() {
        let parent = unistd::getpid().as_raw();
        assert_eq!(in_child(|| i32::from(die_with_parent(parent).is_err())), 0);
        assert_eq!(in_child(|| i32::from(die_with_parent(parent + 1).is_ok())), 0);
        assert_ne!(Forked::Child, Forked::Parent(unistd::getpid()));
    }
}
