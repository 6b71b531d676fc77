#!/bin/sh
# Peers in real time: nginx with Nchan, and a server made of the Centrifuge library, built once below target/. Debian 12 has no Go that is new enough for
# it; where there is none, the rows say so and have Nchan alone.
set -eu
cd "$(dirname "$0")/../.."
tools/need.sh nginx=nginx-light /usr/lib/nginx/modules/ngx_nchan_module.so=libnginx-mod-nchan
server=$PWD/target/peers/centrifuge-server
sources=tests/peers/centrifuge
if [ -x "$server" ] && [ "$server" -nt "$sources/main.go" ] && [ "$server" -nt "$sources/go.sum" ]; then
    exit 0
fi
if ! command -v go >/dev/null 2>&1; then
    echo "no comparison with the Centrifuge library: it needs $(sed -n 's/^go /Go /p' "$sources/go.mod") or newer"
    exit 0
fi
echo "building the server of the Centrifuge library, once (a minute)"
mkdir -p "${server%/*}"
(cd "$sources" && go build -trimpath -buildvcs=false -mod=readonly -o "$server" .)
