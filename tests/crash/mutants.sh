#!/usr/bin/env bash
# Builds each known bug of storage (lib/base/mutant.h, 40-59) and sees that a power loss or a unit test catches it, and that
# without any (0) none of them fails: mutants.sh BUILD [NUMBER...], with BUILD a build directory that has liblib.a.
set -eu
export build=${1:?a build directory}
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export top
shift
work=$(mktemp -d)
export work
export TMPDIR
TMPDIR=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work" "$TMPDIR"' EXIT
ulimit -c 0
export flags="-std=c11 -D_GNU_SOURCE -O1 -I$top/lib -I$top"
tests=(raftlog raftlog_anew raftlog_damage raftlog_full state datadir datadir_node snapshot snapshot_intake)
export tests="${tests[*]}"
mkdir "$work/crash" "$work/tests"
(cd "$work/crash" && cc $flags -c "$top"/tests/crash/*.c)
for test in $tests; do cc $flags -c -o "$work/tests/$test.o" "$top/tests/unit/test_$test.c"; done

try() { # a number; prints what catches it
    mkdir "$work/$1"
    cd "$work/$1"
    cc $flags -DCOORDD_MUTANT="$1" -c "$top"/storage/*.c
    cc -o crash "$work"/crash/*.o ./*.o "$build/liblib.a" -llmdb
    local caught="" test
    timeout 300 ./crash --runs 4 >output 2>&1 || caught="a power loss: $(grep -m 1 -E 'wrong|refused|fatal|never' output)"
    for test in $tests; do
        [ -z "$caught" ] || break
        cc -o "test_$test" "$work/tests/$test.o" ./*.o "$build/liblib.a" -llmdb -lcmocka
        timeout 60 "./test_$test" >output 2>&1 || caught="$test: $(grep -m 1 FAILED output)"
    done
    rm -rf "$TMPDIR"/coordd-crash-*
    echo "$1 ${caught:-NOT caught}"
}
export -f try

numbers=${*:-0 $(grep -oE '^ \* +[0-9]+ ' "$top/lib/base/mutant.h" | tr -dc '0-9\n' | awk '$1 >= 40 && $1 < 60')}
missed=0
for number in $numbers; do
    said=$(try "$number" 2>/dev/null)
    echo "$said"
    caught=yes
    [[ "$said" != *"NOT caught" ]] || caught=no
    if [ "$number" = 0 ]; then [ $caught = no ] || missed=1; else [ $caught = yes ] || missed=1; fi
done
exit $missed
