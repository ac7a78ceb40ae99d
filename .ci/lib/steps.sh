# Steps that do not stop one another, all or those with $only in their names, and tools of a pinned version.
# Sourced by .ci/run and others, in the repository's root.
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
tools=$PWD/target/ci/tools
export PATH="$tools/bin:$PATH"
only=
taken=0
failed=()

step() { # "name" command…
    local name=$1 start=$SECONDS code
    shift
    [[ $name == *"$only"* ]] || return 0
    taken=$((taken + 1))
    printf '\n=== %s\n' "$name"
    # Not in an `if`: bash would then ignore `set -e` within the command.
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

finish() {
    printf '\n=== %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
    [ "$taken" -gt 0 ] || fail "no step has \"$only\" in its name"
    if [ ${#failed[@]} -gt 0 ]; then
        printf 'FAILED: %s\n' "${failed[@]}"
        exit 1
    fi
    echo "all steps passed${only:+ that have \"$only\" in their names: $taken}"
}

fail() {
    echo "error: $*"
    return 1
}

get() { # cargo-name version: in a debug build, which takes a third of the time
    local want="$1 $2" have
    have=$("$1" "${1#cargo-}" --version 2>/dev/null || true)
    [ "$have" = "$want" ] ||
        cargo install "$1" --version "=$2" --locked --debug --root "$tools" --target-dir "$tools/build"
    have=$("$1" "${1#cargo-}" --version)
    [ "$have" = "$want" ] || fail "$want is wanted, and this comes first: $have"
}
