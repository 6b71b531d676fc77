#!/bin/sh
# Clients that speak TLS, and the tool that makes certificates.
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" openssl=openssl curl=curl
