#!/bin/sh
# Counts the words of all files in a folder: wordcount.sh FOLDER [PARTS]. curl, POSIX sh. Prints "word number", the most
# frequent first. The work is done by workers (worker.sh, worker.py) that see the same folder.
#
# May be killed and started again with the same JOB within ten minutes: its Idempotency-Keys find the same tasks.
set -eu
export LC_ALL=C
# shellcheck source=deploy/examples/wordcount/ask.sh
. "$(dirname "$0")/ask.sh"
queue=/v1/queues/wordcount
folder=$(cd "$1" && pwd) parts=${2:-4} job=${JOB:-$(unique)} lines=${LINES_OF_A_MAP:-1000}

say() { echo "wordcount $job: $1" >&2; }
must() { [ "$status" = "$1" ] || { say "$2: $(cat "$answer")"; exit 1; }; }
ids() { grep -o '"id":"[0-9]*"' "$answer" | cut -d'"' -f4; }

# That a worker or a node is killed is not the fault of the task.
ask PUT "$queue" -d "{\"lease\":\"${TTL:-10s}\",\"max_attempts\":1000,\"max_losses\":1000}"
case $status in 200 | 201) ;; *) must 200 'the queue' ;; esac

find "$folder" -type f | sort | while read -r file; do
    case $file in *[\"\\,\}]*) say "no such names, please: $file"; exit 1 ;; esac
    total=$(grep -c '' "$file" || true) from=1
    while [ "$from" -le "$total" ]; do
        echo "{\"payload\":{\"map\":\"$file\",\"from\":$from,\"to\":$((from + lines - 1)),\"parts\":$parts}}"
        from=$((from + lines))
    done
done >"$work/maps"
[ -s "$work/maps" ] || { say "there is nothing in $folder"; exit 1; }
{ printf '['; paste -sd, "$work/maps"; printf ']'; } >"$work/body"
ask POST "$queue/tasks" -H "Idempotency-Key: $job-maps" -d "@$work/body"
must 201 'the maps'
maps=$(ids | sed 's/.*/"&"/' | paste -sd, -)

part=0
while [ "$part" -lt "$parts" ]; do
    echo "{\"payload\":{\"reduce\":$part,\"job\":\"$job\"},\"after\":[$maps]}"
    part=$((part + 1))
done >"$work/reduces"
{ printf '['; paste -sd, "$work/reduces"; printf ']'; } >"$work/body"
ask POST "$queue/tasks" -H "Idempotency-Key: $job-reduces" -d "@$work/body"
must 201 'the reduces'
say "$(wc -l <"$work/maps") maps, $parts reduces"

reduces=$(ids)
: >"$answer"
for reduce in $reduces; do
    until grep -q '"state":"done"' "$answer"; do
        ask GET "$queue/tasks/$reduce?wait=60s"
        if grep -Eq '"state":"(dead|cancelled|expired)"' "$answer"; then must none 'it failed'; fi
    done
    : >"$answer"
done
part=0
while [ "$part" -lt "$parts" ]; do
    ask GET "/v1/kv/wordcount/$job/$part"
    must 200 "part $part"
    tr ' ' '\n' <"$answer" | paste -d' ' - -
    part=$((part + 1))
done >"$work/words"
sort -k2,2nr -k1,1 "$work/words"
