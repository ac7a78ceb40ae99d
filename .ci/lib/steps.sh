# Runs steps, and goes on after a failed step. If $only is set, only the steps with that word in their names run. Installs
# tools of pinned versions. Sourced by .ci/run and others in the root of the repository.
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0} # each crate is compiled once
tools=$PWD/target/ci/tools
export PATH="$tools/bin:$PATH"
only=
ran=0
failed=()
beside_log=$PWD/target/ci/beside
beside_pid=

step() { # "name" command…
    local name=$1 start=$SECONDS code
    shift
    [[ $name == *"$only"* ]] || return 0
    ran=$((ran + 1))
    printf '\n=== %s\n' "$name"
    # Not in an `if`, because bash would then ignore `set -e` in the command.
    set +e
    (set -e; "$@") </dev/null
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        printf -- '--- ok, %d s\n' $((SECONDS - start))
    else
        printf -- '--- FAILED, %d s: %s\n' $((SECONDS - start)) "$name"
        failed+=("$name")
    fi
}

# Runs the steps of a function while the next steps run, on the cores that those leave idle. `finish` prints their output.
# Both need target folders of their own.
beside() { # function
    mkdir -p "${beside_log%/*}"
    (
        renice -n 19 -p "$BASHPID" >/dev/null
        ran=0 failed=()
        "$1"
        printf '%s\n' "$ran" "${failed[@]}" >"$beside_log.result"
    ) >"$beside_log" 2>&1 &
    beside_pid=$!
}

wait_beside() {
    local result=()
    [ -n "$beside_pid" ] || return 0
    wait "$beside_pid" || true
    beside_pid=
    cat "$beside_log"
    mapfile -t result <"$beside_log.result"
    rm "$beside_log.result"
    ran=$((ran + result[0]))
    # Without a failure, printf wrote one empty line.
    for name in "${result[@]:1}"; do [ -z "$name" ] || failed+=("$name"); done
}

finish() {
    wait_beside
    printf '\n=== %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
    [ "$ran" -gt 0 ] || fail "no step has \"$only\" in its name"
    if [ ${#failed[@]} -gt 0 ]; then
        printf 'FAILED: %s\n' "${failed[@]}"
        exit 1
    fi
    echo "all steps passed${only:+, of those with \"$only\" in their names: $ran}"
}

by_name() { # all names, --, selected names: runs the selected functions, or all of them
    local all=() name
    while [ "$1" != -- ]; do all+=("$1"); shift; done
    shift
    [ $# -gt 0 ] || set -- "${all[@]}"
    for name in "$@"; do
        [[ " ${all[*]} " == *" $name "* ]] || { sed -n '2,/^set/s/^# \?//p' "$0"; exit 2; }
    done
    for name in "$@"; do step "$name" "$name"; done
    finish
}

fail() {
    echo "error: $*"
    return 1
}

get() { # cargo-name version. Installs a debug build, which takes a third of the time
    local want="$1 $2" have
    have=$("$1" "${1#cargo-}" --version 2>/dev/null || true)
    [ "$have" = "$want" ] ||
        cargo install "$1" --version "=$2" --locked --debug --root "$tools" --target-dir "$tools/build"
    have=$("$1" "${1#cargo-}" --version)
    [ "$have" = "$want" ] || fail "expected $want, but the first in PATH is $have"
}
