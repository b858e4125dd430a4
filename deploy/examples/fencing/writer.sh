#!/bin/sh
# Takes the lock, thinks, writes. Nothing but curl.
#
#   writer.sh WHO TEXT [PAUSE]     PAUSE: stop in the middle, as in a long garbage collection or a sleeping laptop,
#                                  until somebody sends SIGCONT
set -eu
coordd=${COORDD:-http://localhost:7400} resource=${RESOURCE:-http://localhost:8080}
who=$1 text=$2

token=$(curl -fsS -X POST -H 'Accept: text/plain' "$coordd/v1/locks/report/acquire?owner=$who&ttl=${TTL:-2s}&wait=60s")
echo "$who holds the lock with token $token"
if [ "${3:-}" = PAUSE ]; then
    echo "$who falls asleep"
    kill -STOP $$
    echo "$who wakes up and still believes that it holds the lock"
fi
status=$(curl -sS -o /dev/null -w '%{http_code}' -X PUT -H "Fence: $token" -d "$text" "$resource/report")
if [ "$status" = 200 ]; then
    echo "$who has written"
    curl -fsS -o /dev/null -X POST "$coordd/v1/locks/report/release?token=$token" || echo "$who had lost the lock meanwhile"
else
    echo "$who is refused ($status): its token $token is stale"
    exit 3
fi
