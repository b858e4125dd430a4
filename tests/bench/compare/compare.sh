#!/usr/bin/env bash
# Three durable nodes of coordd beside three of Debian's etcd on loopback, the same generator, interleaved:
#   compare.sh [BUILD_DIRECTORY [ROUNDS [SECONDS]]]
# Takes the medians of the rounds and states the ratios. Installs what is missing (deploy/setup.sh bench).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${1:-build} rounds=${2:-3} seconds=${3:-2}
bash deploy/setup.sh bench >/dev/null
cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null
ninja --quiet -C "$build" coordd bench_load
load=$build/tests/bench/bench_load
work=$(mktemp -d "$build/compare.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
# shellcheck source=tests/bench/nodes.sh
source tests/bench/nodes.sh

start_three 7480
etcd_pids=()
for i in 1 2 3; do
    etcd --name e$i --data-dir "$work/e$i" --listen-client-urls http://127.0.0.1:1237$i \
        --advertise-client-urls http://127.0.0.1:1237$i --listen-peer-urls http://127.0.0.1:1238$i \
        --initial-advertise-peer-urls http://127.0.0.1:1238$i --initial-cluster-token compare \
        --initial-cluster e1=http://127.0.0.1:12381,e2=http://127.0.0.1:12382,e3=http://127.0.0.1:12383 \
        >"$work/e$i.log" 2>&1 &
    pids+=($!)
    etcd_pids+=($!)
done
wait_ready 7481 7482 7483
for ((tries = 0; tries < 300; tries++)); do
    curl -fs localhost:12371/health | grep -q true && break
    sleep 0.1
done
[ "$tries" -lt 300 ] || { echo "compare: etcd is not ready within 30 s" >&2; tail -n 3 "$work"/e*.log >&2; exit 1; }
leader=$(leader_of 7481)
status() { curl -fs localhost:1237"$1"/v3/maintenance/status -X POST -d '{}'; }
etcd_leader=1
for i in 1 2 3; do
    [ "$(status $i | sed 's/.*"member_id":"\([0-9]*\)".*/\1/')" = "$(status $i | sed 's/.*"leader":"\([0-9]*\)".*/\1/')" ] && etcd_leader=$i
done

# system, workload, clients, ports, where -> a line of results: pairs/s, p50 and p99 of an acquire, CPU of all three servers in s/1,000 pairs
measure() {
    local before after line name=$2
    local servers=("${three[@]}")
    [ "$1" = etcd ] && { servers=("${etcd_pids[@]}"); name=etcd-$2; }
    before=$(cpu "${servers[@]}")
    line=$("$load" "$4" "$name" "$3" "$seconds")
    after=$(cpu "${servers[@]}")
    echo "$line" | awk -v s="$1" -v w="$2" -v c="$3" -v at="$5" -v ticks=$((after - before)) -v sec="$seconds" \
        '{pairs = $3 / 2; for (i = 1; i < NF; i++) if ($i == "acquire") { p50 = $(i + 2); p99 = $(i + 4) }
          printf "%s %s %s %s %.0f %s %s %.3f\n", w, c, at, s, pairs, p50, p99, ticks * 10 / (pairs * sec)}'
}
for ((round = 1; round <= rounds; round++)); do
    for clients in 1 64; do
        measure coordd pairs $clients 748"$leader" leader
        measure etcd pairs $clients 1237$etcd_leader leader
        measure coordd pairs $clients 7481,7482,7483 spread
        measure etcd pairs $clients 12371,12372,12373 spread
    done
    measure coordd contended 64 748"$leader" leader
    measure etcd contended 64 1237$etcd_leader leader
done >"$work/results"

say_where "$(etcd --version | head -1)"
echo "median of $rounds rounds of $seconds s; a pair on one lock is a hand-over"
format='%-10s %7s %-6s %-6s %8s %8s %8s %8s\n'
# shellcheck disable=SC2059
printf "$format" workload clients at system pairs/s p50-us p99-us CPU-s/1000
sort -k1,4 -k5,5n "$work/results" | awk -v format="$format" '
    { key = $1 " " $2 " " $3; n[key, $4]++; line[key, $4, n[key, $4]] = $0; keys[key] }
    function median(key, kind, f) { split(line[key, kind, int((n[key, kind] + 1) / 2)], f, " "); return f[5] > 0 }
    END {
        for (key in keys) {
            median(key, "coordd", c)
            median(key, "etcd", e)
            printf format, c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8] | "sort -k1,1r -k2,2n -k3,3"
            printf format, e[1], e[2], e[3], e[4], e[5], e[6], e[7], e[8] | "sort -k1,1r -k2,2n -k3,3"
            ratios[key] = sprintf("ratio %-20s %5.1f x the pairs, %.2f x the time of an acquire at p50, %.2f x the CPU", key, c[5] / e[5], c[6] / e[6], c[8] / e[8])
        }
        close("sort -k1,1r -k2,2n -k3,3")
        for (key in ratios) print ratios[key] | "sort -k2,2r -k3,3n"
    }'
