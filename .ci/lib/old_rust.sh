# A compiler of the version $msrv beside the toolchain, of Debian's packages. Sourced by .ci/run, after steps.sh.
old=$PWD/target/ci/rust-$msrv

with_old_rust() {
    PATH="$old/usr/bin:$PATH" LD_LIBRARY_PATH="$(printf '%s:' "$old"/usr/lib/*-linux-gnu "$old"/lib/*-linux-gnu)" "$@"
}

is_old_rust() {
    [[ "$(with_old_rust rustc --version)" == "rustc $msrv."* && "$(with_old_rust cargo --version)" == "cargo $msrv."* ]]
}

# Unpacked, not installed: `apt-get install` works out which libraries this machine lacks as well.
get_old_rust() {
    if ! { [ -x "$old/usr/bin/cargo" ] && is_old_rust; }; then
        [[ -n "$msrv" ]] || fail "Cargo.toml declares no rust-version"
        [[ "$(id -u)" = 0 && -n "$(command -v apt-get)" ]] ||
            fail "the library was NOT checked with Rust $msrv: its compiler comes from Debian's packages, which needs apt-get and root"
        rm -rf "$old"
        mkdir -p "$old/debs"
        apt-get update -q || echo "apt-get update failed; going on with the lists that are there"
        apt-get install --download-only --no-install-recommends -y -q \
            -o Dir::Cache::Archives="$old/debs" -o APT::Sandbox::User=root \
            "rustc-web=$msrv.*" "cargo-web=$msrv.*" "libstd-rust-web-dev=$msrv.*" ||
            fail "the library was NOT checked with Rust $msrv: Debian's packages of that version cannot be had"
        for deb in "$old"/debs/*.deb; do dpkg-deb -x "$deb" "$old"; done
        rm -r "$old/debs"
    fi
    with_old_rust rustc --version
    with_old_rust cargo --version
    is_old_rust || fail "the library was NOT checked with Rust $msrv: the compiler unpacked for it is another"
}
