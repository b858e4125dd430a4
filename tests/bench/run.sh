#!/usr/bin/env bash
# The table of the README: run.sh [BUILD_DIRECTORY [ROUNDS [SECONDS]]]. Interleaved rounds; take the medians of what it prints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build} rounds=${2:-3} seconds=${3:-3}
cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null
ninja --quiet -C "$build" coordd bench_load bench_fsync bench_hello
bin=$build/tests/bench
work=$(mktemp -d "$build/bench.XXXXXX")
node='' hello=''
trap 'kill $node $hello 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

now_ms() { date +%s%3N; }
start_node() {
    local from
    from=$(now_ms)
    "$build/coordd" serve --listen 127.0.0.1:7480 --data-dir "$work/data" 2>"$work/log" &
    node=$!
    until grep -q fact=ready "$work/log"; do sleep 0.002; done
    echo "ready $1 within $(($(now_ms) - from)) ms"
}

start_node "with an empty directory"
echo "RSS idle: $(awk '/VmRSS/ {print $2}' "/proc/$node/status") kB"
"$bin/bench_hello" 7481 & hello=$!
sleep 0.3
for ((round = 1; round <= rounds; round++)); do
    echo "round $round"
    "$bin/bench_fsync" "$work/fsync" 2000
    for connections in 1 8 64 256; do
        "$bin/bench_load" 7480 pairs $connections "$seconds" $node
        "$bin/bench_load" 7480 renew $connections "$seconds" $node
        "$bin/bench_load" 7481 hello $connections "$seconds" $hello
    done
    "$bin/bench_load" 7480 contended 64 "$seconds" $node
done
kill -9 $node
wait $node 2>/dev/null || true
start_node "after kill -9 under load"
