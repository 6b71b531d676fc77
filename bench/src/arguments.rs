//! The command line of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What was asked for.
pub struct Arguments {
    /// Our binary.
    pub skep: PathBuf,
    /// Rows whose names contain this.
    pub only: String,
    /// Rounds of each row.
    pub rounds: u32,
    /// Part of the requests that a row names.
    pub scale: f64,
    /// Compare nginx with itself: every ratio must be 1, give or take the noise.
    pub check: bool,
    /// Where the report goes, besides the terminal.
    pub save: Option<PathBuf>,
    /// Be the server that parses nothing, at this address.
    pub kernel_limit: Option<SocketAddr>,
}

const USAGE: &str = "\
usage: skep-bench [--skep FILE] [--only PART] [--rounds N] [--quick] [--check] [--save FILE | --no-save]
  --skep FILE   the binary to measure (dist/skep)
  --only PART   rows whose names contain PART
  --rounds N    rounds of each row (15)
  --quick       a fifth of the requests, five rounds; nothing is saved
  --check       nginx against itself: how far from 1.00 the noise goes; nothing is saved
  --save FILE   where the report goes (bench/RESULTS.md when every row ran)";

impl Arguments {
    pub fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments =
            Self { skep: "dist/skep".into(), only: String::new(), rounds: 15, scale: 1.0, check: false, save: None, kernel_limit: None };
        let mut saves = true;
        let mut given = given;
        while let Some(name) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"));
            match name.as_str() {
                "--skep" => arguments.skep = value()?.into(),
                "--only" => arguments.only = value()?,
                "--rounds" => {
                    arguments.rounds = value()?.parse().ok().filter(|&rounds| rounds > 0).ok_or("--rounds needs a number from 1")?;
                }
                "--quick" => (arguments.scale, arguments.rounds, saves) = (0.2, 5, false),
                "--check" => (arguments.check, saves) = (true, false),
                "--save" => arguments.save = Some(value()?.into()),
                "--no-save" => saves = false,
                "--serve-kernel-limit" => {
                    arguments.kernel_limit = Some(value()?.parse().map_err(|error| format!("--serve-kernel-limit: {error}"))?);
                }
                _ => return Err(format!("unknown argument {name:?}\n{USAGE}")),
            }
        }
        // A part of the rows must not replace the result of all.
        if saves && arguments.save.is_none() && arguments.only.is_empty() {
            arguments.save = Some("bench/RESULTS.md".into());
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn only_a_whole_run_is_saved() {
        assert!(parse("").unwrap().save.is_some());
        for partial in ["--only http", "--quick", "--check", "--no-save"] {
            assert!(parse(partial).unwrap().save.is_none(), "{partial}");
        }
        assert!(parse("--only http --save x.md").unwrap().save.is_some());
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in ["--rounds", "--rounds 0", "--rounds x", "--fast", "--serve-kernel-limit here"] {
            assert!(parse(nonsense).is_err(), "{nonsense}");
        }
    }
}
