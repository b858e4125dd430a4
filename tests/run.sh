#!/usr/bin/env bash
# Installs what is missing, builds, and passes every test: plainly built, under ASan+UBSan, under TSan, and the
# fuzz targets for a short while. The last line counts them all; the exit status is 0 only when none failed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash deploy/setup.sh build test || { echo "0 passed, 1 failed"; exit 1; }
jobs=$(nproc)
reports=()
broken=0

stage() { # what it is, its build directory, which tests (a regular expression on their names), targets they need, options of cmake
    local title=$1 directory=$2 tests=$3 targets=$4
    shift 4
    echo "== $title"
    mkdir -p "$directory"
    if ! { cmake -G Ninja -B "$directory" -DCOORDD_TESTS=ON "$@" . && ninja -C "$directory" -j "$jobs" $targets; } \
        >"$directory/build.log" 2>&1 </dev/null; then
        tail -n 60 "$directory/build.log"
        echo "== $title: the build failed"
        broken=$((broken + 1))
        return
    fi
    rm -f "$directory/report.xml"
    ctest --test-dir "$directory" -R "$tests" -j $((3 * jobs)) --timeout 900 --no-tests=error --output-on-failure \
        --output-junit report.xml </dev/null || echo "== $title: not all passed"
    if [ -f "$directory/report.xml" ]; then
        reports+=("$directory/report.xml")
    else
        broken=$((broken + 1))
    fi
}

stage "as it ships" build '.' all
stage "with AddressSanitizer and UndefinedBehaviorSanitizer" build-asan '^(unit|script|crash|api|sim)\.' all \
    -DCOORDD_SANITIZE=address,undefined -DCOORDD_SIM_SEEDS=200
stage "with ThreadSanitizer" build-tsan '^(process|api)\.' 'coordd fake_node disk_shim' -DCOORDD_SANITIZE=thread
stage "fuzz targets" build-fuzz '^fuzz\.' fuzz \
    -DCMAKE_C_COMPILER=clang -DCOORDD_FUZZ=ON -DCOORDD_SANITIZE=address,undefined

exec /usr/bin/python3 tests/count.py "$broken" ${reports[@]+"${reports[@]}"}
