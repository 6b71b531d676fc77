//! The Luau runtime and its modules.
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | an application as `config.ron` has it |
//! | [`vm`] | one VM: sealed globals, compiled code |
//! | [`limits`] | what one application may use |
//! | [`step`] | one uninterrupted run, and the watchdog that ends it |
//! | [`source`] | where the files of an application come from |
//! | [`fault`] | an error with its place, trace and source lines |

pub mod config;
pub mod fault;
pub mod limits;
pub mod source;
pub mod step;
pub mod vm;

pub use step::{RunningStep, current_step, running_steps};
