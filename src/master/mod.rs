//! The one process that binds, forks and supervises; it serves nobody and runs no executor.
