#!/usr/bin/env bash
# Installs the Debian packages that coordd needs: deploy/setup.sh build, or deploy/setup.sh build test bench.
# Touches nothing, and needs no rights, when they are all there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -gt 0 ] || set -- build
for kind in "$@"; do
    case $kind in
    run | build | test | bench) ;;
    *) echo "usage: deploy/setup.sh [run] [build] [test] [bench]" >&2; exit 2 ;;
    esac
done

wanted=()
while read -r kind package; do
    case " $* " in *" $kind "*) wanted+=("$package") ;; esac
done < <(grep -v '^#' "$here/packages.txt")

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "setup: this is not Debian or its like (no apt-get). Install by hand what these packages hold: ${wanted[*]}" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "setup: all ${#wanted[@]} packages are there"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: needs root (or sudo) for: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
run() {
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null >"$output" 2>&1; then
        cat "$output" >&2
        echo "setup: apt-get $1 failed" >&2
        exit 1
    fi
}
run update
run install -y --no-install-recommends "${missing[@]}"
if [ -d /run/systemd/system ]; then # Debian starts what it installs; a benchmark wants its own, and no others beside it
    for package in "${missing[@]}"; do
        case $package in
        beanstalkd | redis-server) service=$package ;;
        etcd-server) service=etcd ;;
        *) continue ;;
        esac
        "${as_root[@]}" systemctl disable --quiet --now "$service"
    done
fi
echo "setup: done"
