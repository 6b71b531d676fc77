#!/bin/sh
# The Redis server.
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" redis-server=redis-server redis-cli=redis-tools
