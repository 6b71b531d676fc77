#!/bin/sh
# Makes sure that commands (or files) are there: need.sh WHAT=DEBIAN-PACKAGE …
# On Debian as root it installs what is missing; anywhere else it says in one line what is missing and how to get it.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
missing= packages=
for pair in "$@"; do
    what=${pair%%=*}
    case $what in
    /*) [ -e "$what" ] && continue ;;
    *) command -v "$what" >/dev/null 2>&1 && continue ;;
    esac
    missing="$missing ${what##*/}"
    packages="$packages ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing: install them with your package manager (on Debian:$packages)" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "missing:$missing: sudo apt-get install --no-install-recommends$packages" >&2
    exit 1
fi
echo "installing$packages"
# RUNLEVEL=1 keeps Debian from starting the servers among them: whoever needs one starts it, on a port of its own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # The names are words of a list.
if ! { apt-get -q update && apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages; } >"$log" 2>&1 </dev/null; then
    tail -20 "$log" >&2
    echo "could not install:$packages" >&2
    exit 1
fi
