//! The few places that need `unsafe`: fork, privileges, shared memory, descriptors.
pub mod luau_interrupt;
