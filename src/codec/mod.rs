//! Bytes in, events out: no socket, no clock.
