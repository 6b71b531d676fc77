//! The one process for what must exist once.
