#!/bin/sh
# Clients of HTTP/2: curl, h2load, and h2spec, a conformance suite in Go that is built once below target/.
set -eu
cd "$(dirname "$0")/../.."
tools/need.sh curl=curl openssl=openssl h2load=nghttp2-client
suite=$PWD/target/peers/h2spec
[ ! -x "$suite" ] || exit 0
go=$(tests/peers/go.sh)
echo "building h2spec, once (half a minute)"
mkdir -p "${suite%/*}"
(cd tests/peers/h2spec && "$go" build -trimpath -buildvcs=false -mod=readonly -o "$suite" github.com/summerwind/h2spec/cmd/h2spec)
