#!/usr/bin/env bash
# Builds each known bug of lib/base/mutant.h into the simulator and lives seeds until one catches it:
#   mutants.sh [SEEDS [NUMBER...]]
# Prints after how many seeds; status 1 when one was not caught.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seeds=${1:-2000}
shift || true
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
missed=0
for mutant in ${*:-$(grep -oE '^ \* +[0-9]+ ' lib/base/mutant.h | grep -oE '[0-9]+')}; do
    cmake -G Ninja -B "$build" -DCOORDD_MUTANT="$mutant" . >/dev/null && ninja -C "$build" sim >/dev/null || exit 1
    said=$(timeout 600 "$build/tests/sim/sim" 1 "$seeds" 1 2>&1)
    if grep -q '^again:' <<<"$said"; then
        echo "mutant $mutant: caught by seed $(sed -n 's/^again: sim -v //p' <<<"$said" | head -n 1): $(sed -n 's/^seed [0-9]*, at [0-9]* ms: //p' <<<"$said" | head -n 1)"
    else
        echo "mutant $mutant: NOT caught by $seeds seeds"
        missed=1
    fi
done
exit $missed
