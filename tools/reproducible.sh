#!/bin/sh
# Builds the committed sources twice, in two folders, and compares the archives byte for byte. Takes two cold release builds.
set -eu
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
for folder in first second/deeper; do
    mkdir -p "$place/$folder"
    git archive "$commit" | tar -x -C "$place/$folder"
    (cd "$place/$folder" && CARGO_TARGET_DIR="$place/$folder/target" sh tools/release.sh && sh tools/archive.sh)
    rm -rf "$place/$folder/target"
done
first=$(ls "$place"/first/dist/*.tar.gz)
second=$place/second/deeper/dist/${first##*/}
if ! cmp "$first" "$second"; then
    cmp "$place/first/dist/skep" "$place/second/deeper/dist/skep" || echo "the binaries differ" >&2
    exit 1
fi
echo "reproducible: $(sha256sum "$first" | cut -d' ' -f1)"
