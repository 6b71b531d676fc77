//! The few places that need `unsafe`: fork, privileges, shared memory, descriptors, the processor.

pub mod accounts;
pub mod channel;
pub mod descriptors;
pub mod environment;
pub mod fork;
pub mod limits;
pub mod luau_interrupt;
pub mod memory;
pub mod prefetch;
pub mod privileges;
pub mod program;
pub mod shared;
pub mod signals;
pub mod socket;
