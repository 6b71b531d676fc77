#!/bin/sh
# Checks that the pinned Rust is there. It never installs one: a toolchain is the user's to choose.
set -eu
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
how="rustup toolchain install $wanted --profile minimal --component clippy,rustfmt"
if command -v rustup >/dev/null 2>&1; then
    if ! rustup toolchain list | grep -q "^$wanted-"; then
        echo "missing: Rust $wanted: $how" >&2
        exit 1
    fi
elif ! command -v cargo >/dev/null 2>&1; then
    echo "missing: Rust $wanted: install rustup (https://rustup.rs), then: $how" >&2
    exit 1
fi
found=$(rustc --version | cut -d' ' -f2)
if [ "$found" != "$wanted" ]; then
    echo "missing: Rust $wanted (rustc is $found): install rustup (https://rustup.rs), then: $how" >&2
    exit 1
fi
