#!/bin/sh
# Runs every test of the workspace and ends in one line: N passed, N failed.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# A pipe would hide cargo's exit code, so it is written to a file beside the output.
{ cargo test --workspace --locked --no-fail-fast 2>&1 || echo "cargo test ended with $?" >"$log.status"; } | tee "$log"
if [ -e "$log.status" ]; then
    cat "$log.status"
    rm -f "$log.status"
    status=1
fi
counts=$(awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' "$log")
case $counts in
"0 passed"*)
    echo "no test ran" >&2
    status=1
    ;;
esac
echo "$counts"
exit $status
