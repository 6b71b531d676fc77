#!/bin/sh
# rustfmt, clippy, cargo deny and the house rules: a warning is an error.
set -eu
cd "$(dirname "$0")/.."
deny=0.20.2
if ! command -v cargo-deny >/dev/null 2>&1; then
    echo "building cargo-deny, once (some minutes)"
    cargo install cargo-deny --locked --quiet --version "$deny"
fi
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
cargo deny --log-level error check bans licenses sources
# The house rules need no dependency, so they need not wait for a build of the crate.
mkdir -p target
rustc --edition 2024 --test tests/tidy/main.rs -o target/tidy
./target/tidy --quiet
