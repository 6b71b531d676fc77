#!/bin/sh
# Builds the release binary and puts it at dist/skep: statically linked, at most 25 MB, the same bytes in every folder.
set -eu
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
most=25000000
here=$(pwd)
registry=${CARGO_HOME:-$HOME/.cargo}
built=${CARGO_TARGET_DIR:-$here/target}
# Panic messages carry source paths, C++ assertions too: without this they would name the folders of whoever builds.
export CFLAGS="-ffile-prefix-map=$registry=cargo -ffile-prefix-map=$built=target"
export CXXFLAGS="$CFLAGS"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
cargo build --release --locked --package skep --bin skep \
    --config "target.$target.rustflags=['--remap-path-prefix=$here=skep', '--remap-path-prefix=$registry=cargo', '--remap-path-prefix=$built=target']"
mkdir -p dist
# A running binary cannot be written to, but its name can be given to another file.
cp "$built/$target/release/skep" dist/skep.new
mv dist/skep.new dist/skep

linked=$(ldd dist/skep 2>&1 || true)
case $linked in
*"statically linked"* | *"not a dynamic executable"*) ;;
*)
    echo "dist/skep is not statically linked: $linked" >&2
    exit 1
    ;;
esac
size=$(stat -c %s dist/skep)
if [ "$size" -gt "$most" ]; then
    echo "dist/skep has $size bytes; $most is the most" >&2
    exit 1
fi
echo "dist/skep: statically linked, $((size / 1000)) kB"
