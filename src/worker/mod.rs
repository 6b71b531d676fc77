//! The process that accepts, parses and runs applications: the one wiring point.
