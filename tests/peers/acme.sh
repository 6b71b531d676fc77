#!/bin/sh
# Pebble, an authority for tests of ACME clients, and a name server to go with it: built once below target/.
set -eu
cd "$(dirname "$0")/../.."
version=v2.10.1
peers=$PWD/target/peers
[ -x "$peers/pebble" ] && [ -x "$peers/pebble-challtestsrv" ] && exit 0
tools/need.sh openssl=openssl curl=curl
go=$(tests/peers/go.sh)
echo "building Pebble, once (a minute)"
mkdir -p "$peers"
for command in pebble pebble-challtestsrv; do
    GOBIN=$peers "$go" install -trimpath "github.com/letsencrypt/pebble/v2/cmd/$command@$version"
done
