#!/usr/bin/env bash
# Queues of coordd (three durable nodes, and one) beside beanstalkd (binlog, fsync with every write) and redis
# (appendonly, fsync always), one node each, the same generator, interleaved:
#   queue.sh [BUILD_DIRECTORY [ROUNDS [SECONDS [CLIENTS...]]]]
# Takes the medians of the rounds and states the ratios. Installs what is missing (deploy/setup.sh bench).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${1:-build} rounds=${2:-3} seconds=${3:-1}
clients=("${@:4}")
[ ${#clients[@]} -gt 0 ] || clients=(1 16 64)
bash deploy/setup.sh bench >/dev/null
cmake -G Ninja -B "$build" -DCOORDD_TESTS=ON . >/dev/null
ninja --quiet -C "$build" coordd bench_queue bench_fsync
load=$build/tests/bench/bench_queue
work=$(mktemp -d "$build/queue.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
# shellcheck source=tests/bench/nodes.sh
source tests/bench/nodes.sh

start_three 7520
start_one 7540
mkdir "$work/beanstalkd" "$work/redis"
beanstalkd -l 127.0.0.1 -p 7551 -b "$work/beanstalkd" -f 0 &
pids+=($!)
redis-server --bind 127.0.0.1 --port 7552 --dir "$work/redis" --appendonly yes --appendfsync always --save '' \
    >"$work/redis.log" 2>&1 &
pids+=($!)
wait_ready 7521 7522 7523 7540
leader=752$(leader_of 7521)
for port in 7551 7552; do
    until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
done

# name, port, system, batch -> a line of results: batch, clients, name, tasks/s, p50 of enqueue, claim, complete
measure() {
    local long=$seconds
    [ "$3 $4" = "beanstalkd 100" ] && long=$((seconds * 4)) # 64 batches of it take 2 s
    "$load" "$2" "$3" "$4" "$5" "$long" | awk -v name="$1" -v batch="$4" -v clients="$5" '{
        sub(/:/, ""); p["enqueue"] = p["claim"] = p["complete"] = "-"
        for (i = 1; i < NF; i++) if ($(i + 1) == "p50") p[$i] = $(i + 2)
        print batch, clients, name, $3, p["enqueue"], p["claim"], p["complete"] }'
}
for ((round = 1; round <= rounds; round++)); do
    "$build/tests/bench/bench_fsync" "$work/fsync" 500 >>"$work/fsyncs"
    for count in "${clients[@]}"; do
        for batch in 1 100; do
            [ "$batch" = 1 ] && measure coordd-3 "$leader" coordd 1 "$count"
            measure coordd-3-next "$leader" coordd-next "$batch" "$count"
            [ "$batch" = 1 ] && measure coordd-1 7540 coordd 1 "$count"
            measure coordd-1-next 7540 coordd-next "$batch" "$count"
            measure beanstalkd 7551 beanstalkd "$batch" "$count"
            measure redis 7552 redis "$batch" "$count"
        done
    done
done >"$work/results"

say_where "$(beanstalkd -v)" "$(redis-server -v | cut -d' ' -f1-3)"
echo "median of $rounds rounds of $seconds s; bare flush: $(sort -k3,3n "$work/fsyncs" | sed -n "$(((rounds + 1) / 2))p")"
format='%5s %7s %-14s %9s %11s %11s %11s\n'
# shellcheck disable=SC2059
printf "$format" batch clients system tasks/s enqueue-us claim-us complete-us
sort -k1,1n -k2,2n -k3,3 -k4,4n "$work/results" | awk -v format="$format" '
    { key = $1 " " $2; cases[key " " $3]; all[key]; line[key " " $3, ++n[key " " $3]] = $0 }
    END {
        for (one in cases) {
            middle = line[one, int((n[one] + 1) / 2)]
            split(middle, f, " ")
            rate[one] = f[4]
            printf format, f[1], f[2], f[3], f[4], f[5], f[6], f[7] | "sort -k1,1n -k2,2n -k3,3"
        }
        close("sort -k1,1n -k2,2n -k3,3")
        for (key in all) {
            split(key, f, " ")
            for (i = 3; i >= 1; i -= 2) {
                own = key " coordd-" i "-next"
                printf "ratio %s %s: %d nodes with next make %.2f x the tasks of beanstalkd, %.2f x those of redis\n",
                    f[1], f[2], i, rate[own] / rate[key " beanstalkd"], rate[own] / rate[key " redis"] | "sort -k2,2n -k3,3n"
            }
        }
    }'
