#!/bin/sh
# Two writers, one lock, one of them asleep at the wrong moment. Needs a running coordd (COORDD, by default
# http://localhost:7400), python3 and curl. Ends with 0 when the late write was refused.
set -eu
here=$(dirname "$0")
port=${PORT:-8080}
export COORDD="${COORDD:-http://localhost:7400}" RESOURCE="http://localhost:$port"

python3 "$here/resource.py" "$port" &
resource=$!
trap 'kill $resource' EXIT
until curl -s -o /dev/null "$RESOURCE/"; do sleep 0.1; done

sh "$here/writer.sh" first 'by the first' PAUSE &
first=$!
until grep -q '^State:.*T' /proc/$first/status; do sleep 0.1; done

sh "$here/writer.sh" second 'by the second' # waits until the first one's lease is over
kill -CONT $first
code=0
wait $first || code=$?
[ $code = 3 ] || { echo "the late write was not refused"; exit 1; }
[ "$(curl -fsS "$RESOURCE/report")" = 'by the second' ] || { echo "the report is not the second one's"; exit 1; }
echo "the report is still the second one's"
