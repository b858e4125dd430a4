#!/bin/sh
# A worker of the word count: curl, POSIX sh, awk. worker.sh [NAME]; as many as you like, stop them as you like.
#
# A map task counts the words in some lines of a file: {"map":FILE,"from":LINE,"to":LINE,"parts":R}. Its result has
# R members, "p0" to "pR-1", each "word number word number ...", so that a word is always in the member of its hash.
# A reduce task adds up one member of all maps: {"reduce":r,"job":JOB}. Its sum becomes the key wordcount/JOB/r in the
# very transaction that completes the task: a worker that has lost its claim in between writes nothing.
set -eu
export LC_ALL=C
# shellcheck source=deploy/examples/wordcount/ask.sh
. "$(dirname "$0")/ask.sh"
queue=/v1/queues/wordcount name=${1:-sh-$$}

# member NAME: of the claim
member() { sed -n "s/.*\"payload\":{[^}]*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" "$work/claim"; }

fail() { # no other worker could do it
    echo "$name: task $id: $1" >&2
    ask POST "$queue/tasks/$id/fail" -d "{\"token\":$token,\"error\":\"$1\",\"permanent\":true}"
}

map() {
    file=$(member map) from=$(member from) to=$(member to) parts=$(member parts)
    [ -r "$file" ] || { fail "there is no $file here"; return; }
    { printf '{"token":%s,"result":' "$token"
      sed -n "$from,${to}p" "$file" | tr -cs '[:alpha:]' '[\n*]' | tr '[:upper:]' '[:lower:]' | awk -v parts="$parts" '
          NF { number[$1]++ }
          END {
              for (word in number) {
                  hash = 0
                  for (i = 1; i <= length(word); i++)
                      hash = (hash * 31 + index("abcdefghijklmnopqrstuvwxyz", substr(word, i, 1))) % 65521
                  part[hash % parts] = part[hash % parts] " " word " " number[word]
              }
              ORS = ""
              for (r = 0; r < parts; r++) print (r ? "," : "{") "\"p" r "\":\"" substr(part[r], 2) "\""
              print "}"
          }'
      echo '}'; } >"$work/body"
    ask POST "$queue/tasks/$id/complete" -H "Idempotency-Key: $id-$token" -d "@$work/body"
}

# What the claim brings of the maps fills up to 1 MiB; the rest are null, and read one by one.
reduce() {
    part=$(member reduce) job=$(member job)
    sed 's/{"id":/\
&/g' "$work/claim" >"$work/inputs"
    # shellcheck disable=SC2013
    for map in $(sed -n 's/^{"id":"\([0-9]*\)".*"result":null.*/\1/p' "$work/inputs"); do
        ask GET "$queue/tasks/$map"
        [ "$status" = 200 ] || { fail "map $map: $status"; return; }
        cat "$answer" >>"$work/inputs"
    done
    sum=$(grep -o "\"p$part\":\"[^\"]*\"" "$work/inputs" | cut -d'"' -f4 | tr ' ' '\n' | awk '
        NF { if (word == "") word = $1; else { number[word] += $1; word = "" } }
        END { for (word in number) print word, number[word] }' | sort | paste -sd' ' -)
    cat >"$work/body" <<END
{"then":[{"op":"kv.put","key":"wordcount/$job/$part","value":"$sum"},
         {"op":"queue.complete","queue":"wordcount","id":"$id","token":$token}]}
END
    ask POST /v1/txn -H "Idempotency-Key: $id-$token" -d "@$work/body"
}

while :; do
    # With the key a claim whose answer was lost is answered again, with the same task and token.
    ask POST "$queue/claim?worker=$name&wait=20s" -H "Idempotency-Key: $(unique)"
    [ "$status" = 200 ] || { cat "$answer" >&2; exit 1; }
    mv "$answer" "$work/claim"
    id=$(sed -n 's/.*"tasks":\[{"id":"\([0-9]*\)".*/\1/p' "$work/claim")
    [ -n "$id" ] || continue
    token=$(sed -n 's/.*"tasks":\[{"id":"[0-9]*","token":\([0-9]*\).*/\1/p' "$work/claim")
    case $(cat "$work/claim") in *'"payload":{"map":'*) map ;; *) reduce ;; esac
    case $status in
    200) ;;
    409 | 410) echo "$name: task $id: the claim was lost, somebody else has it" >&2 ;;
    *) fail "refused with $status" ;;
    esac
done
