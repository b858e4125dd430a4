#!/usr/bin/env bash
# Builds each known bug of lib/base/mutant.h into the simulator and lives seeds until one catches it:
#   mutants.sh [SEEDS [NUMBER...]]
# Without numbers: those of the core and of the node; those of storage are for tests/crash/mutants.sh. Only the
# files that hold a bug are compiled anew. Prints which seed, and what it saw; status 1 when one was not caught.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seeds=${1:-2000}
shift || true
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cmake -G Ninja -B "$build" . >/dev/null && ninja -C "$build" sim >/dev/null || exit 1
objects=$build/tests/sim/CMakeFiles/sim.dir
missed=0
for mutant in ${*:-$(grep -oE '^ \* +[0-9]+ ' lib/base/mutant.h | grep -oE '[0-9]+' | grep -vE '^[45][0-9]$')}; do
    changed=()
    rest=$(find "$objects" -name '*.o')
    for file in $(grep -rlE "MUTANT\($mutant\)" --include='*.c' lib coordd storage); do
        object=$build/$(tr / - <<<"$file").o
        cc -std=c11 -O2 -D_GNU_SOURCE -DDIGEST_ENTRIES=32 -DKEPT_ENTRIES=3 -DAPPEND_BYTES_MAX=600 -DCOORDD_MUTANT="$mutant" -I. -Ilib -c "$file" -o "$object" || exit 1
        changed+=("$object")
        rest=$(grep -v "/$file\.o$" <<<"$rest")
    done
    if [ ${#changed[@]} -eq 0 ]; then
        echo "mutant $mutant: not in the code"
        missed=1
        continue
    fi
    # shellcheck disable=SC2086
    cc -o "$build/mutant" "${changed[@]}" $rest "$build/liblib.a" || exit 1
    said=$(timeout 600 "$build/mutant" 1 "$seeds" 1 2 2>&1)
    if grep -q '^again:' <<<"$said"; then
        echo "mutant $mutant: caught by seed $(sed -n 's/^again: sim -v //p' <<<"$said" | head -n 1): $(sed -n 's/^seed [0-9]*, at [0-9]* ms: //p' <<<"$said" | head -n 1)"
    else
        echo "mutant $mutant: NOT caught by $seeds seeds"
        missed=1
    fi
done
exit $missed
