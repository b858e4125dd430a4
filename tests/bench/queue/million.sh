#!/usr/bin/env bash
# Does a queue that is full slow a claim? million.sh [BUILD_DIRECTORY [TASKS [ROUNDS [SECONDS]]]]
# Three durable nodes; one queue stays empty but for what is being worked on, the other one is filled with TASKS waiting
# tasks in arrays of 1,000. Then the same load on both, in turn: enqueue, claim, complete; medians of the rounds, and ratios.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${1:-build} tasks=${2:-1000000} rounds=${3:-5} seconds=${4:-1}
cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null
ninja --quiet -C "$build" coordd bench_queue
load=$build/tests/bench/bench_queue
work=$(mktemp -d "$build/million.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
# shellcheck source=tests/bench/nodes.sh
source tests/bench/nodes.sh

start_three 7560
wait_ready 7561 7562 7563
leader=756$(leader_of 7561)
say_where "$tasks tasks"
rss() { awk '/VmRSS/ {print $2}' "/proc/$1/status"; }
disk() { du -sm "$work/c1" | cut -f1; }
before=$(rss "${three[0]}")
echo "filling: $("$load" "$leader" coordd 1000 4 0 full "$tasks")"
echo "a node: RSS $before kB before, $(rss "${three[0]}") kB after (pages of the state's map are among them), $(disk) MB of disk"
for ((round = 1; round <= rounds; round++)); do
    for clients in 1 64; do
        for queue in empty full; do
            "$load" "$leader" coordd 1 $clients "$seconds" $queue | awk -v queue=$queue -v clients=$clients '{
                gsub(/[:,]/, "")
                for (i = 1; i < NF; i++) if ($(i + 1) == "p50") { p50[$i] = $(i + 2); p99[$i] = $(i + 4) }
                print clients, queue, $3, p50["claim"], p99["claim"], p50["complete"], p50["claim"] + p50["complete"] }'
        done
    done
done >"$work/results"
curl -fs "localhost:$leader/v1/queues/full" | sed 's/.*\("ready":[0-9]*\).*/the full queue at the end: \1/'

echo "median of $rounds rounds of $seconds s"
format='%7s %-6s %8s %13s %13s %13s %18s\n'
# shellcheck disable=SC2059
printf "$format" clients queue tasks/s claim-p50-us claim-p99-us complete-p50 claim+complete-p50
sort -k1,1n -k2,2 -k7,7n "$work/results" | awk -v format="$format" '
    { key = $1 " " $2; line[key, ++n[key]] = $0; keys[key]; clients[$1] }
    END {
        for (key in keys) {
            split(line[key, int((n[key] + 1) / 2)], f, " ")
            sum[key] = f[7]
            printf format, f[1], f[2], f[3], f[4], f[5], f[6], f[7] | "sort -k1,1n -k2,2"
        }
        close("sort -k1,1n -k2,2")
        for (c in clients)
            printf "ratio %s clients: claim and complete take %.2f x the time when the queue is full\n", c, sum[c " full"] / sum[c " empty"] | "sort -k2,2n"
    }'
