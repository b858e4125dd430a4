#!/usr/bin/env bash
# Three durable nodes of coordd beside three of Debian's etcd on loopback, the same generator, interleaved:
#   compare.sh [BUILD_DIRECTORY [ROUNDS [SECONDS]]]
# Takes the medians of the rounds and states the ratios. Installs etcd-server when it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${1:-build} rounds=${2:-3} seconds=${3:-3}
command -v etcd >/dev/null || { echo "compare: installing etcd-server"; apt-get install -y -q etcd-server >/dev/null; }
cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null
ninja -C "$build" coordd bench_load >/dev/null
load=$build/tests/bench/bench_load
work=$(mktemp -d "$build/compare.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

for i in 1 2 3; do
    "$build/coordd" serve --name n$i --data-dir "$work/c$i" --listen 127.0.0.1:748$i --peer-listen 127.0.0.1:749$i \
        --initial-cluster n1=127.0.0.1:7491,n2=127.0.0.1:7492,n3=127.0.0.1:7493 2>"$work/c$i.log" &
    pids+=($!)
    etcd --name e$i --data-dir "$work/e$i" --listen-client-urls http://127.0.0.1:1237$i \
        --advertise-client-urls http://127.0.0.1:1237$i --listen-peer-urls http://127.0.0.1:1238$i \
        --initial-advertise-peer-urls http://127.0.0.1:1238$i --initial-cluster-token compare \
        --initial-cluster e1=http://127.0.0.1:12381,e2=http://127.0.0.1:12382,e3=http://127.0.0.1:12383 \
        >"$work/e$i.log" 2>&1 &
    pids+=($!)
done
coordd_pids="${pids[0]} ${pids[2]} ${pids[4]}" etcd_pids="${pids[1]} ${pids[3]} ${pids[5]}"
for ((tries = 0; tries < 300; tries++)); do
    if curl -fs -o /dev/null localhost:7481/readyz && curl -fs -o /dev/null localhost:7483/readyz &&
        curl -fs localhost:12371/health | grep -q true; then break; fi
    sleep 0.1
done
leader=$(curl -fs localhost:7481/v1/cluster | sed 's/.*"leader":"n\([0-9]\)".*/\1/')
status() { curl -fs localhost:1237$1/v3/maintenance/status -X POST -d '{}'; }
etcd_leader=1
for i in 1 2 3; do
    [ "$(status $i | sed 's/.*"member_id":"\([0-9]*\)".*/\1/')" = "$(status $i | sed 's/.*"leader":"\([0-9]*\)".*/\1/')" ] && etcd_leader=$i
done

cpu() { local sum=0 pid; for pid in $1; do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat"))); done; echo $sum; }
# system, workload, clients, ports -> a line of results: requests/s p50 p99 CPU-us-per-request of all three servers
measure() {
    local before after line name=$2
    local servers=$coordd_pids
    [ "$1" = etcd ] && { servers=$etcd_pids; name=etcd-$2; }
    before=$(cpu "$servers")
    line=$("$load" "$4" "$name" "$3" "$seconds")
    after=$(cpu "$servers")
    echo "$line" | awk -v s="$1" -v w="$2" -v c="$3" -v at="$5" -v cpu=$((after - before)) -v sec="$seconds" \
        '{rate = $3 + 0; printf "%s %s %s %s %.0f %s %s %.1f\n", w, c, at, s, rate, $6, $10, cpu * 10000 / (rate * sec)}'
}
for ((round = 1; round <= rounds; round++)); do
    for clients in 1 64; do
        measure coordd pairs $clients 748$leader leader
        measure etcd pairs $clients 1237$etcd_leader leader
        measure coordd pairs $clients 7481,7482,7483 spread
        measure etcd pairs $clients 12371,12372,12373 spread
    done
    measure coordd contended 64 748$leader leader
    measure etcd contended 64 1237$etcd_leader leader
done >"$work/results"

echo "workload    clients at      system  requests/s   p50 us   p99 us  CPU us/request (all three)"
sort -k1,4 -k5,5n "$work/results" | awk '
    { key = $1 " " $2 " " $3 " " $4; n[key]++; line[key, n[key]] = $0; order[key] }
    END {
        for (key in order) {
            split(line[key, int((n[key] + 1) / 2)], f, " ")
            rate[f[1] " " f[2] " " f[3], f[4]] = f[5]; p50[f[1] " " f[2] " " f[3], f[4]] = f[6]; cases[f[1] " " f[2] " " f[3]]
            printf "%-11s %7s %-7s %-7s %10s %8s %8s %8s\n", f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8] | "sort"
        }
        close("sort")
        for (c in cases) printf "ratio %-22s %.1f x the requests, %.2f x the time at p50\n", c, rate[c, "coordd"] / rate[c, "etcd"], p50[c, "coordd"] / p50[c, "etcd"] | "sort"
    }'
