#!/bin/sh
# Packs dist/skep and its documents into dist/skep-VERSION-x86_64-linux.tar.gz: the same sources give the same bytes.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
name=skep-$version-x86_64-linux
rm -rf "dist/$name"
mkdir -p "dist/$name"
cp dist/skep README.md CHANGELOG.md LICENSE "dist/$name/"
chmod 755 "dist/$name" "dist/$name/skep"
chmod 644 "dist/$name"/*.md "dist/$name/LICENSE"
tar --create --directory dist --sort=name --mtime="@$when" --owner=0 --group=0 --numeric-owner --format=ustar "$name" | gzip -9n >"dist/$name.tar.gz"
rm -rf "dist/$name"
(cd dist && sha256sum "$name.tar.gz")
