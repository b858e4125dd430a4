#!/usr/bin/env bash
# From a fresh clone to a lock held through curl: installs what is missing, builds, starts a node in the
# background and talks to it. COORDD_LISTEN and COORDD_DATA_DIR choose another address and another place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export COORDD_LISTEN=${COORDD_LISTEN:-127.0.0.1:7400} COORDD_DATA_DIR=${COORDD_DATA_DIR:-coordd-data}
address=${COORDD_LISTEN/#127.0.0.1:/localhost:}
log=build/quickstart.log

bash deploy/setup.sh build
if curl -s -o /dev/null --max-time 2 "$address/livez"; then
    echo "quickstart: something answers on $address already: stop it, or choose another place, e.g.
    COORDD_LISTEN=127.0.0.1:7500 COORDD_DATA_DIR=other-data bash deploy/quickstart.sh" >&2
    exit 1
fi

echo "quickstart: building (into build/)"
mkdir -p build
if ! { cmake -G Ninja -B build -DCOORDD_TESTS=OFF . && ninja -C build coordd; } >build/quickstart-build.log 2>&1; then
    tail -n 40 build/quickstart-build.log >&2
    echo "quickstart: the build failed; all of it is in build/quickstart-build.log" >&2
    exit 1
fi

setsid build/coordd serve </dev/null >"$log" 2>&1 &
node=$!
for ((tries = 0; ; tries++)); do
    if curl -fs -o /dev/null --max-time 2 "$address/readyz"; then break; fi
    if ! kill -0 "$node" 2>/dev/null || [ "$tries" -ge 100 ]; then
        kill "$node" 2>/dev/null || true
        tail -n 20 "$log" >&2
        echo "quickstart: the node did not get ready; its log is $log" >&2
        exit 1
    fi
    sleep 0.1
done
echo "quickstart: a node runs on $address (pid $node, data in $COORDD_DATA_DIR, log in $log)"

show() { # what it means, then the words of a request to curl
    echo
    echo "# $1"
    shift
    printf '$ curl'
    printf ' %q' "$@" | sed 's/\\\([?&=]\)/\1/g; s/ \([^ ]*[?&][^ ]*\)/ '"'\\1'/g"
    echo
    answer=$(curl -s "$@")
    echo "$answer"
}

show "take the lock \"deploy\" for 30 seconds: granted, with a fencing token" \
    -X POST "$address/v1/locks/deploy/acquire?ttl=30s&owner=alice"
token=$(sed -n 's/.*"token":\([0-9]*\).*/\1/p' <<<"$answer")
show "somebody else tries: held, and by whom" \
    -X POST "$address/v1/locks/deploy/acquire?ttl=30s&owner=bob"
show "look at it" "$address/v1/locks/deploy"
if [ -z "$token" ]; then
    echo "quickstart: the lock was not granted; stop the node with: kill $node" >&2
    exit 1
fi
show "give it back" -X POST "$address/v1/locks/deploy/release?token=$token"

echo
echo "quickstart: the node runs on. Stop it with: kill $node"
