//! The binary as an operator sees it: commands, signals, processes that die, configurations that change. Real processes, real
//! sockets, temporary directories.

mod access;
mod addresses;
mod commands;
mod foreground;
mod generations;
mod instance;
mod privileges;
mod reports;
mod shared;
mod supervision;
mod update;
mod upgrade;
