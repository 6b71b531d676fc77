#!/bin/sh
# Web servers that speak FastCGI to what is behind them. Debian's `apache2-bin` is Apache with its modules, and nothing that would be started.
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" nginx=nginx-light apache2=apache2-bin haproxy=haproxy
