#!/bin/sh
# Autobahn's test suite for WebSocket, in a virtual environment below target/. It runs on Python 2.7 only, which no package of Debian 12 has: where
# there is none, the test says so and nothing else is missing.
set -eu
cd "$(dirname "$0")/../.."
suite=target/peers/autobahn
[ -x "$suite/bin/wstest" ] && exit 0
python=
for candidate in python2.7 "$HOME"/.pyenv/versions/2.7*/bin/python2.7 /opt/python2.7/bin/python2.7 /usr/local/bin/python2.7; do
    if path=$(command -v "$candidate") && "$path" -c 'import ssl' 2>/dev/null; then
        python=$path
        break
    fi
done
if [ -z "$python" ]; then
    echo "Autobahn's WebSocket cases are not run: there is no Python 2.7 (pyenv install 2.7.18)"
    exit 0
fi
tools/need.sh python3=python3-venv
# The last virtualenv that makes environments for Python 2.7.
rm -rf "$suite" "$suite-tools"
python3 -m venv "$suite-tools"
"$suite-tools/bin/pip" -q install 'virtualenv<20.22'
"$suite-tools/bin/virtualenv" -q -p "$python" "$suite"
"$suite/bin/pip" -q --disable-pip-version-check --no-python-version-warning install autobahntestsuite==25.10.1
