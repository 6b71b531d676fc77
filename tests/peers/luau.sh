#!/bin/sh
# Luau's own type checker, luau-analyze, for tests/types.rs. Nobody packages it, so it is built from its sources, once (some minutes).
set -eu
cd "$(dirname "$0")/../.."
out=$PWD/target/luau
manifest=tests/peers/luau/Cargo.toml
tools/need.sh c++=g++ make=make
if [ -x "$out/luau-analyze" ] && [ "$out/luau-analyze" -nt tests/peers/luau/Cargo.lock ]; then
    exit 0
fi
echo "building luau-analyze, once (some minutes)"
cargo fetch --locked --quiet --manifest-path "$manifest"
luau=$(cargo metadata --locked --format-version 1 --manifest-path "$manifest" | tr ',' '\n' |
    sed -n 's|^"manifest_path":"\(.*/luau-analyzer-sys-[^/]*\)/Cargo.toml"$|\1/luau|p' | head -n 1)
[ -n "$luau" ] || { echo "the sources of Luau cannot be found" >&2; exit 1; }
rm -rf "$out"
mkdir -p "$out"
make --quiet --jobs="$(nproc)" --file tests/peers/luau/Makefile LUAU="$luau" OUT="$out/build" CXX="${CXX:-g++}" >"$out/build.log" 2>&1 ||
    { tail -n 20 "$out/build.log" >&2; exit 1; }
mv "$out/build/luau-analyze" "$out/luau-analyze"
rm -rf "$out/build"
