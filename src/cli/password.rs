use std::io::{self, BufRead, IsTerminal, Write};

use argh::FromArgs;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::{Exit, complain, say};

/// The shortest password that is taken, and the longest that is looked at when somebody says it, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=1024;

/// print a line for a file of users: the name and the argon2id hash of a password, which is asked for or read from stdin
#[derive(FromArgs)]
#[argh(subcommand, name = "password")]
pub struct Password {
    /// the user's name
    #[argh(positional)]
    pub name: String,
}

impl Password {
    pub fn execute(self) -> Exit {
        let name = self.name;
        if name.is_empty() || name.starts_with('#') || name.chars().any(|c| c == ':' || c.is_control()) {
            complain("a name has no colon and no control characters, and begins with no #");
            return Exit::Usage;
        }
        let line = ask().and_then(|password| {
            if !LENGTH.contains(&password.len()) {
                return Err(format!("a password has {} to {} bytes", LENGTH.start(), LENGTH.end()));
            }
            let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|error| error.to_string())?;
            Ok(format!("{name}:{hash}\n"))
        });
        match line {
            Ok(line) => {
                say(&line);
                Exit::Fine
            }
            Err(why) => {
                complain(&why);
                Exit::Failed
            }
        }
    }
}

/// The password: from a terminal, which does not show it, twice; else the first line of stdin.
fn ask() -> Result<String, String> {
    if !io::stdin().is_terminal() {
        return read();
    }
    let silent = Silent::new().map_err(|error| format!("the terminal would show the password: {error}"))?;
    let (first, second) = (prompt("password: ")?, prompt("again: ")?);
    drop(silent);
    if first == second { Ok(first) } else { Err("these are two different passwords".to_owned()) }
}

fn prompt(text: &str) -> Result<String, String> {
    let mut stderr = io::stderr();
    let told = |error: io::Error| format!("cannot ask: {error}");
    write!(stderr, "{text}").and_then(|()| stderr.flush()).map_err(told)?;
    let line = read()?;
    // The line end that was typed is not shown either.
    writeln!(stderr).map_err(told)?;
    Ok(line)
}

fn read() -> Result<String, String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| format!("cannot read the password: {error}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that shows nothing of what is typed, for as long as this lives.
struct Silent(Termios);

impl Silent {
    fn new() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // If this fails nothing else can be done about it.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}
