//! Autobahn's fuzzing client against the real binary.
