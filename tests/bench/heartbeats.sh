#!/usr/bin/env bash
# Heartbeats of MEMBERS members in three durable nodes: heartbeats.sh [BUILD_DIRECTORY [MEMBERS [SECONDS]]]. Plain and batched, on the
# leader and over all nodes, what the log grew by meanwhile, and how long no heartbeat is answered when the leader is killed,
# with that many members and with one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build} members=${2:-100000} seconds=${3:-5}
[ -n "${BENCH_NO_BUILD:-}" ] || { cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null && ninja -C "$build" coordd bench_heartbeats >/dev/null; }
beats=$build/tests/bench/bench_heartbeats
work=$(mktemp -d "$build/heartbeats.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
# shellcheck source=tests/bench/nodes.sh
. tests/bench/nodes.sh

commit() { curl -fs "localhost:$1/v1/cluster" | sed 's/.*"commit_index":\([0-9]*\).*/\1/'; }

# The longest gap on a follower while the leader is killed: failover BASE TOKENS
failover() {
    local base=$1 leader follower
    leader=$(leader_of $((base + 1)))
    follower=$((base + leader % 3 + 1))
    "$beats" $follower "$2" gap 1 8 >"$work/gap" &
    local gap=$!
    sleep 2
    kill -9 "${three[$((leader - 1))]}"
    wait "${three[$((leader - 1))]}" 2>/dev/null || true
    wait $gap || true
    tail -n 1 "$work/gap"
    grep -h 'took office' "$work"/c*.log | sort | tail -n 1 | sed 's/.*leases=/  leases that the new leader took over: /'
}

say_where
start_three 7660
wait_ready 7661 7662 7663
leader=$((7660 + $(leader_of 7661)))
"$beats" 7661,7662,7663 "$work/tokens" join "$members" 256
before=$(commit $leader)
for connections in 64 256; do
    echo "on the leader"
    "$beats" $leader "$work/tokens" plain $connections "$seconds"
    echo "over all nodes"
    "$beats" 7661,7662,7663 "$work/tokens" plain $connections "$seconds"
done
echo "batches of 1,000 and of 10,000 on the leader"
"$beats" $leader "$work/tokens" batch 4 "$seconds" 1000
"$beats" $leader "$work/tokens" batch 4 "$seconds" 10000
echo "over all nodes"
"$beats" 7661,7662,7663 "$work/tokens" batch 6 "$seconds" 1000
echo "entries that the log grew by: $(($(commit $leader) - before))"
echo "the leader is killed, $members members:"
failover 7660 "$work/tokens"
kill -9 "${three[@]}" 2>/dev/null || true
wait "${three[@]}" 2>/dev/null || true
rm -rf "$work"/c*
start_three 7670
wait_ready 7671 7672 7673
"$beats" 7671 "$work/one" join 1 1 >/dev/null
echo "the leader is killed, 1 member:"
failover 7670 "$work/one"
