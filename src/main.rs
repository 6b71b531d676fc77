//! The binary: arguments in, one call, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    skep::cli::main()
}
