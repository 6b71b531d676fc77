//! The binary as an operator sees it: commands, signals, processes that die, configurations that change. Real processes, real
//! sockets, temporary directories.

mod commands;
mod foreground;
mod instance;
mod privileges;
mod reports;
mod supervision;
mod update;
mod upgrade;
