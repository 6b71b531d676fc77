//! The event loop: readiness, timers, tasks.
