#!/bin/sh
# Clients that speak TLS, the tool that makes certificates, and a scanner that tries what a server accepts.
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" openssl=openssl curl=curl sslscan=sslscan
