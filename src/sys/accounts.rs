//! Users and groups, read from `/etc/passwd` and `/etc/group` by ourselves: a static binary has no name service switch.
//! The formats are those of passwd(5) and group(5).

use std::fs;
use std::io;
use std::path::Path;

/// A user and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name; the number in digits for a user that has no line in the file.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// The user's own group.
    pub gid: u32,
}

/// Both files, parsed. Read before a chroot: they are not inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Reads the machine's files. A file that does not exist is empty (an empty chroot, a bare container).
    ///
    /// # Errors
    /// A file exists and cannot be read.
    pub fn load() -> io::Result<Accounts> {
        Ok(Accounts::parse(&read(Path::new("/etc/passwd"))?, &read(Path::new("/etc/group"))?))
    }

    /// Parses both texts; lines that are not of the format are skipped, as libc does.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Accounts {
        let users = passwd.lines().filter_map(user_line).collect();
        let groups = group.lines().filter_map(group_line).collect();
        Accounts { users, groups }
    }

    /// A user by name, or by number when there is none of that name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        if let Some(user) = self.users.iter().find(|u| u.name == name) {
            return Some(user.clone());
        }
        let uid = name.parse().ok()?;
        let known = self.users.iter().find(|u| u.uid == uid).cloned();
        Some(known.unwrap_or_else(|| User { name: name.to_owned(), uid, gid: uid }))
    }

    /// A group's id by name, or by number when there is none of that name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|g| g.name == name).map(|g| g.gid).or_else(|| name.parse().ok())
    }

    /// The groups a user is a member of, with `gid` first; each once, at most the kernel's 65,536.
    #[must_use]
    pub fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        let mut ids = vec![gid];
        for group in &self.groups {
            if group.members.iter().any(|m| m == user) && !ids.contains(&group.gid) {
                ids.push(group.gid);
            }
        }
        ids.truncate(65_536);
        ids
    }

    /// The name of a user id, or its digits.
    #[must_use]
    pub fn user_name(&self, uid: u32) -> String {
        self.users.iter().find(|u| u.uid == uid).map_or_else(|| uid.to_string(), |u| u.name.clone())
    }
}

fn read(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
    }
}

fn user_line(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { name: name.to_owned(), uid, gid })
}

fn group_line(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or("");
    let members = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
    Some(Group { name: name.to_owned(), gid, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Accounts {
        Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\n# note\nbroken\nskep:x:990:980::/var/lib/skep:/usr/sbin/nologin\nweb:x:x:1::/:\n",
            "root:x:0:\nskep:x:980:\nssl-cert:x:110:postgres,skep\nadm:x:4:skep\nskep2:x:980:skep\n",
        )
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let accounts = sample();
        let skep = User { name: "skep".into(), uid: 990, gid: 980 };
        assert_eq!(accounts.user("skep"), Some(skep.clone()));
        assert_eq!(accounts.user("990"), Some(skep));
        assert_eq!(accounts.user("4711"), Some(User { name: "4711".into(), uid: 4711, gid: 4711 }));
        assert_eq!(accounts.user("web"), None, "a line with a broken number is no user");
        assert_eq!(accounts.user("nobody-here"), None);
    }

    #[test]
    fn supplementary_groups_come_once_and_after_the_own_group() {
        assert_eq!(sample().groups_of("skep", 980), [980, 110, 4]);
        assert_eq!(sample().groups_of("root", 0), [0]);
    }

    #[test]
    fn groups_are_found_by_name_and_by_number() {
        assert_eq!(sample().group("ssl-cert"), Some(110));
        assert_eq!(sample().group("12345"), Some(12345));
        assert_eq!(sample().group("none"), None);
    }
}
