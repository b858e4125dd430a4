#!/usr/bin/env bash
# Where the time of three durable nodes goes: profile.sh [BUILD_DIRECTORY [SECONDS]]. For one client, 64 clients and 64 on one lock, all at
# the leader: CPU of each node, context switches and system calls for a request (by the kernel's tracepoints), and perf's hottest functions
# of the leader. Needs root; installs what is missing (deploy/setup.sh bench). Stops only what it started; removes its data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${1:-build} seconds=${2:-3}
bash deploy/setup.sh bench >/dev/null
cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null
ninja --quiet -C "$build" coordd bench_load
load=$build/tests/bench/bench_load
work=$(mktemp -d "$build/profile.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

# shellcheck source=tests/bench/nodes.sh
source tests/bench/nodes.sh
start_three 7460
wait_ready 7461 7462 7463
leader=$(leader_of 7461)
pid=${three[leader - 1]}
follower=${three[leader % 3]}

calls=(fdatasync write pwrite64 writev sendto read recvfrom epoll_wait poll futex clock_gettime)
events=context-switches,raw_syscalls:sys_enter
for call in "${calls[@]}"; do events+=,syscalls:sys_enter_$call; done
metrics=localhost:746$leader/metrics
served() { awk '/^coordd_requests_total\{operation="lock/ {n += $2} END {print n + 0}' "$1"; }

# workload, clients
profile() {
    local line rate requests before=() after=() i
    for i in 0 1 2; do before+=("$(cpu "${three[i]}")"); done
    line=$("$load" 746"$leader" "$1" "$2" "$seconds")
    for i in 0 1 2; do after+=("$(cpu "${three[i]}")"); done
    printf '\n== %s\n' "$line"
    rate=$(echo "$line" | awk '{print $3}')
    for i in 0 1 2; do
        awk -v n=$((i + 1)) -v l="$leader" -v t=$((after[i] - before[i])) -v r="$rate" -v s="$seconds" \
            'BEGIN {printf "n%d %s: %.1f us CPU/request, %.2f cores\n", n, n == l ? "leader" : "follower", t * 10000 / (r * s), t / 100 / s}'
    done
    "$load" 746"$leader" "$1" "$2" "$((seconds + 2))" >"$work/line" &
    local busy=$!
    sleep 0.5
    for who in "$pid" "$follower"; do
        perf stat -x, -p "$who" --per-thread -e "$events" -o "$work/stat" \
            bash -c "curl -fs $metrics >'$work/from'; sleep 1; curl -fs $metrics >'$work/to'"
        requests=$(($(served "$work/to") - $(served "$work/from")))
        awk -F, -v n="$requests" -v who="$([ "$who" = "$pid" ] && echo leader || echo follower)" '
            NF > 3 && $2 > 0 { sub(/-[0-9]+$/, "", $1); sub(/.*sys_enter_/, "", $4); sub(/raw_syscalls:sys_enter/, "system-calls", $4)
                     text[$1] = text[$1] sprintf("  %s %.2f", $4, $2 / n) }
            END { for (thread in text) printf "%s, thread %s, for a request:%s\n", who, thread, text[thread] }' "$work/stat"
    done
    wait $busy
    "$load" 746"$leader" "$1" "$2" "$((seconds + 1))" >"$work/line" &
    busy=$!
    sleep 0.3
    perf record -q -F 1999 -e cpu-clock -g -p "$pid" -o "$work/perf" sleep "$seconds" >/dev/null 2>&1
    wait $busy
    echo "the leader by thread and by function (self):"
    perf report -i "$work/perf" --no-children -g none --sort comm --percent-limit 1 --stdio 2>/dev/null | grep '%' || true
    perf report -i "$work/perf" --no-children -g none --sort dso,sym --stdio 2>/dev/null | grep '%' | head -25 || true
    echo "with what they call:"
    perf report -i "$work/perf" --children -g none --sort sym --stdio 2>/dev/null | grep '%' | head -45 || true
}
profile pairs 1
profile pairs 64
profile contended 64
