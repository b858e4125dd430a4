# shellcheck shell=sh
# To be sourced: one request to coordd, at whichever node answers. COORDD: one URL or several with spaces between them.
nodes=${COORDD:-http://localhost:7400}
work=$(mktemp -d)
answer=$work/answer
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# ask METHOD PATH [OPTIONS OF CURL]: the answer is in the file $answer, its status in $status. A node that is dead, or
# answers that the request may be repeated (no leader, outcome unknown ...), is followed by the next one. An
# Idempotency-Key among the options makes the repetition harmless.
ask() {
    method=$1 path=$2
    shift 2
    while :; do
        status=$(curl -s -o "$answer" -w '%{http_code}' --connect-timeout 2 -m 90 -X "$method" "$@" "${nodes%% *}$path") || status=000
        [ "$status" != 000 ] && ! grep -q '^{.*"retryable":true' "$answer" && return
        case $nodes in *' '*) nodes="${nodes#* } ${nodes%% *}" ;; esac
        sleep 0.2
    done
}

# A name that nobody else has: for an Idempotency-Key.
unique() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }
