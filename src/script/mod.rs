//! The Luau runtime and its modules.
