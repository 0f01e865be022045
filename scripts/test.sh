#!/usr/bin/env bash
# Runs the tests and sums them up: `scripts/test.sh core kernel`, or one of the two. $ARGS goes to pytest. With LINT=1 clippy
# compiles our own code, and a warning fails: one build does for both.
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
log=$target/test.log
colour=$([ -t 1 ] && echo always || echo auto) # colours survive the pipe to the log when a terminal looks on
code=0

# One command of a part: seen here, kept in the log, and the rest goes on where it fails.
run() {
    "$@" 2>&1 | tee -a "$log" || { code=1; return 1; }
}

lint=(${LINT:+--config "build.rustc-workspace-wrapper='$PWD/scripts/clippy.sh'"})

cargo() {
    command cargo "${lint[@]}" "$@"
}

core() {
    compile_ahead "$@" &
    trap "kill $! 2>/dev/null" EXIT
    run cargo test --no-fail-fast --color "$colour"
    grep -q Running "$log" || kill $! 2>/dev/null # nothing was compiled, and so nothing ran
    [ -z "${LINT:-}" ] || run cargo test --benches --no-run # nothing else compiles them
}

# The kernel's compilation, while the core's tests run and leave a processor idle: they no longer hold cargo's lock then.
compile_ahead() {
    [[ " $* " == *" kernel "* ]] || return 0
    until grep -q Running "$log"; do
        sleep 2
        kill -0 $$ 2>/dev/null || return 0 # the tests have been stopped
    done
    # what fails here fails again where it is seen
    exec nice -n 19 cargo "${lint[@]}" test -q -p paella-kernel --no-run >/dev/null 2>&1
}

# The kernel's own tests, then Jupyter's clients and a browser on the installed kernel.
kernel() {
    local jupyter=$target/kernel-test
    if ! rust_src; then
        echo "not run: the kernel's tests, since rust-src cannot be had here" | tee -a "$log"
        return
    fi
    run cargo test -p paella-wire --no-fail-fast --color "$colour"
    run cargo test -p paella-kernel --no-fail-fast --color "$colour"
    run cargo build -p paella-kernel || return
    [ -x "$jupyter/bin/python" ] || run python3 -m venv "$jupyter" || return
    run "$jupyter/bin/pip" install -q -r tests/kernel/requirements.txt || return
    run "$target/debug/paella-kernel" install --prefix "$jupyter" || return
    eval "local more=(${ARGS:-})" # several words, quoted ones kept together
    run "$jupyter/bin/python" -m pytest -q -rfEs -n 2 --dist loadfile tests/kernel "${more[@]}"
}

# The kernel completes and types cells with Rust's own sources.
rust_src() {
    [ -d "${PAELLA_RUST_SRC:-/nowhere}/core" ] && return
    [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library/core" ] || rustup component add rust-src >/dev/null 2>&1
}

mkdir -p "$target"
: >"$log"
for part in "$@"; do
    start=$SECONDS
    "$part" "$@"
    echo "part: $part, $((SECONDS - start)) s" >>"$log"
done
awk -v code=$code -v seconds=$SECONDS -f scripts/summary.awk "$log" | tee "$target/test-summary"
exit $code
