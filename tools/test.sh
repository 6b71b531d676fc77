#!/bin/sh
# Runs every test of the workspace, then the client for pages, then every page in a browser against dist/skep, and ends in one line: N passed, N failed.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
failures=$(mktemp)
trap 'rm -f "$log" "$failures"' EXIT

# Runs a part and notes when it fails: in a pipe its exit code would be lost.
part() {
    { "$@" 2>&1 || echo "failed with $?: $*" >>"$failures"; } | tee -a "$log"
}

part cargo test --workspace --locked --no-fail-fast
part node --test --test-reporter tap tests/browser/client.test.mjs
part npm --prefix tests/browser run --silent types
part node tests/browser/run.mjs dist/skep

cat "$failures"
counts=$(awk '/^test result:/ { passed += $4; failed += $6 }
    /^# pass [0-9]+$/ { passed += $3 }
    /^# fail [0-9]+$/ { failed += $3 }
    /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3 }
    END { printf "%d passed, %d failed\n", passed, failed }' "$log")
echo "$counts"
case $counts in
"0 passed"*) exit 1 ;;
esac
[ ! -s "$failures" ]
