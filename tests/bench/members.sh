#!/usr/bin/env bash
# What members cost a leader in memory and on disk: members.sh [BUILD_DIRECTORY [MEMBERS]]. One durable node, that is its own
# leader: empty, with that many members that have beaten, and after a restart. Anonymous memory (RssAnon) is the program's own;
# pages of the state file (RssFile) are the kernel's, who takes them back when they are wanted. history: events that are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build} members=${2:-100000}
[ -n "${BENCH_NO_BUILD:-}" ] || { cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null && ninja -C "$build" coordd bench_heartbeats >/dev/null; }
beats=$build/tests/bench/bench_heartbeats
work=$(mktemp -d "$build/members.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
# shellcheck source=tests/bench/nodes.sh
. tests/bench/nodes.sh

# KiB of RssAnon and RssFile, bytes of the state file that are in use: figures LABEL
figures() {
    local anon file state
    anon=$(awk '/^RssAnon/ {print $2}' "/proc/$one/status")
    file=$(awk '/^RssFile/ {print $2}' "/proc/$one/status")
    state=$(du -B1 "$work"/c0/state-*/data.mdb | cut -f1)
    printf '%-28s RssAnon %8d KiB   RssFile %8d KiB   state file %10d bytes' "$1" "$anon" "$file" "$state"
    [ -n "${anon0:-}" ] && printf '   a member: %d bytes of memory, %d of the file' $(((anon - anon0) * 1024 / members)) $(((state - state0) / members))
    echo
    anon0=${anon0:-$anon} state0=${state0:-$state}
}

say_where
start_one 7680
wait_ready 7680
curl -fs -o /dev/null -X PUT localhost:7680/v1/locks/warm/acquire || curl -fs -o /dev/null -X POST localhost:7680/v1/locks/warm/acquire
figures empty
"$beats" 7680 "$work/tokens" join "$members" 64
figures "$members joined"
"$beats" 7680 "$work/tokens" batch 4 3 1000 >/dev/null
figures "they have beaten"
kill "$one"
wait "$one" 2>/dev/null || true
start_one 7680
wait_ready 7680
"$beats" 7680 "$work/tokens" batch 4 3 1000 >/dev/null
figures "after a restart, beaten"
curl -fs localhost:7680/metrics | grep -E '^coordd_(members\{state="alive"\}|heartbeats_total|groups) '
