# shellcheck shell=bash
# What the benchmarks of several nodes share; to be sourced. Wants: build, work (a directory), pids (an array that
# the caller's trap kills).
# shellcheck disable=SC2154,SC2034

# Three durable nodes n1 n2 n3 on ports BASE + 1 .. 3, peers on BASE + 11 .. 13: start_three BASE; their processes: three (an array)
start_three() {
    local i cluster=
    three=()
    for i in 1 2 3; do cluster+=${cluster:+,}n$i=127.0.0.1:$(($1 + 10 + i)); done
    for i in 1 2 3; do
        "$build/coordd" serve --name n$i --data-dir "$work/c$i" --listen 127.0.0.1:$(($1 + i)) \
            --peer-listen 127.0.0.1:$(($1 + 10 + i)) --initial-cluster "$cluster" 2>"$work/c$i.log" &
        three+=($!)
        pids+=($!)
    done
}

# One durable node: start_one PORT; its process: one
start_one() {
    "$build/coordd" serve --data-dir "$work/c0" --listen 127.0.0.1:"$1" --peer-listen 127.0.0.1:$(($1 + 10)) 2>"$work/c0.log" &
    one=$!
    pids+=($!)
}

# Until all these ports answer as ready: wait_ready PORT...
wait_ready() {
    local port tries
    for port in "$@"; do
        for ((tries = 0; ; tries++)); do
            curl -fs -o /dev/null "localhost:$port/readyz" && break
            [ "$tries" -lt 300 ] || { echo "${0##*/}: the nodes are not ready within 30 s" >&2; tail -n 3 "$work"/*.log >&2; exit 1; }
            sleep 0.1
        done
    done
}

# 1, 2 or 3: leader_of PORT
leader_of() { curl -fs "localhost:$1/v1/cluster" | sed 's/.*"leader":"n\([0-9]\)".*/\1/'; }

# Ticks of CPU time that the processes have used: cpu PID...
cpu() { local sum=0 pid; for pid; do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat"))); done; echo $sum; }

# What ran where, for the head of a table: say_where [OTHER...]
say_where() {
    date -u '+%F %T UTC'
    printf '%s x %s, kernel %s, load %s' "$(nproc)" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "$(uname -r)" "$(cut -d' ' -f1 /proc/loadavg)"
    printf ', %s' "$@" "coordd $(git rev-parse --short HEAD 2>/dev/null || echo 'of no commit')"
    echo
}
