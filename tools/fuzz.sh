#!/bin/sh
# Fuzzes the parser TARGET of fuzz/ for SECONDS: `tools/fuzz.sh resp 300`. What it finds on the way stays in target/fuzz/corpus, what fails in
# target/fuzz/found. These are the flags that cargo-fuzz gives, but for the address sanitizer: the pinned compiler is enough.
set -eu
cd "$(dirname "$0")/../fuzz"
target=${1:?which target of fuzz/fuzz_targets}
seconds=${2:-60}
triple=x86_64-unknown-linux-gnu
coverage="-sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table -sanitizer-coverage-trace-compares"
RUSTFLAGS="-Cpasses=sancov-module --cfg fuzzing -Cdebug-assertions"
for flag in $coverage; do
    RUSTFLAGS="$RUSTFLAGS -Cllvm-args=$flag"
done
export RUSTFLAGS
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../target/fuzz}"
cargo build --release --locked --target "$triple" --bin "$target"
mkdir -p "../target/fuzz/corpus/$target" "../target/fuzz/found"
exec "$CARGO_TARGET_DIR/$triple/release/$target" "../target/fuzz/corpus/$target" "corpus/$target" \
    -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="../target/fuzz/found/$target-"
