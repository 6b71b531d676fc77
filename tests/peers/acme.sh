#!/bin/sh
# Pebble, an authority for tests of ACME clients, and a name server to go with it: built once below target/. Debian 12 has no Go that is new enough for
# them; where there is none, the tests say so and nothing else is missing.
set -eu
cd "$(dirname "$0")/../.."
version=v2.10.1
peers=$PWD/target/peers
[ -x "$peers/pebble" ] && [ -x "$peers/pebble-challtestsrv" ] && exit 0
if ! command -v go >/dev/null 2>&1; then
    echo "certificates are not ordered from Pebble: it needs Go 1.23 or newer"
    exit 0
fi
tools/need.sh openssl=openssl curl=curl
echo "building Pebble, once (a minute)"
mkdir -p "$peers"
for command in pebble pebble-challtestsrv; do
    GOBIN=$peers go install -trimpath "github.com/letsencrypt/pebble/v2/cmd/$command@$version"
done
