#!/bin/sh
# A browser for tests/browser: Debian's Chromium, and what drives it, in the versions of the lock file.
set -eu
here=$(dirname "$0")
"$here/../../tools/need.sh" /usr/bin/chromium=chromium node=nodejs npm=npm openssl=openssl
cd "$here/../browser"
# The lock file is copied beside what it installed, so that a second run has nothing to do.
cmp -s package-lock.json node_modules/.installed 2>/dev/null && exit 0
npm ci --silent
cp package-lock.json node_modules/.installed
