#!/usr/bin/env bash
# Builds each known bug of the Raft core (lib/base/mutant.h, 1-39) and sees that a scripted test of Raft catches it,
# and that without any (0) none of them fails. Arguments: compiler, top of the tree, liblib.a, a directory to work in.
set -eu
export compiler=$1 top=$2 archive=$3 work=$4
export flags="-std=c11 -D_GNU_SOURCE -O0 -I$top/lib -I$top"
ulimit -c 0
rm -rf "$work"
mkdir -p "$work/tests"
cd "$work/tests"
$compiler $flags -c "$top"/tests/unit/test_raft_{rules,elections,replication,membership,transfer,snapshot}.c "$top"/tests/support/raft_net*.c

try() { # a number; prints it when it is not as it should be
    mkdir "$work/$1"
    cd "$work/$1"
    $compiler $flags -DCOORDD_MUTANT="$1" -c "$top"/lib/raft/*.c
    local caught=no test
    for test in "$work"/tests/test_*.o; do
        $compiler -o test "$test" "$work"/tests/raft_net*.o ./*.o "$archive" -lcmocka
        timeout 20 ./test >output 2>&1 || { caught=yes; break; }
    done
    if [ "$1" = 0 ]; then
        [ $caught = no ] || { cat output; echo "without a bug, $(basename "$test" .o) fails"; }
    else
        [ $caught = yes ] || echo "not caught: $(grep -E "^ \* +$1 " "$top/lib/base/mutant.h")"
    fi
}
export -f try

numbers=$(grep -oE '^ \* +[0-9]+ ' "$top/lib/base/mutant.h" | tr -dc '0-9\n' | awk '$1 < 40')
[ "$(wc -l <<<"$numbers")" -ge 39 ] || { echo "lib/base/mutant.h has changed its form"; exit 1; }
found=$(printf '%s\n' 0 $numbers | xargs -P "$(nproc)" -I{} bash -c 'try {}' 2>&1 | grep -v Aborted || true)
rm -rf "$work"
[ -z "$found" ] || { echo "$found"; exit 1; }
echo "all of $(wc -l <<<"$numbers") known bugs are caught"
