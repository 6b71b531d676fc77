//! `config.ron` as written, then as checked.
