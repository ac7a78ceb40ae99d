# Gets a compiler of version $msrv from Debian's packages. Sourced by .ci/run after steps.sh.
old=$PWD/target/ci/rust-$msrv

with_old_rust() {
    PATH="$old/usr/bin:$PATH" LD_LIBRARY_PATH="$(printf '%s:' "$old"/usr/lib/*-linux-gnu "$old"/lib/*-linux-gnu)" "$@"
}

is_old_rust() {
    [[ "$(with_old_rust rustc --version)" == "rustc $msrv."* && "$(with_old_rust cargo --version)" == "cargo $msrv."* ]]
}

# Unpacks the packages and does not install them. `apt-get install` also finds the libraries that this machine lacks.
get_old_rust() {
    if ! { [ -x "$old/usr/bin/cargo" ] && is_old_rust; }; then
        [[ -n "$msrv" ]] || fail "Cargo.toml declares no rust-version"
        [[ "$(id -u)" = 0 && -n "$(command -v apt-get)" ]] ||
            fail "the library was NOT checked with Rust $msrv: the compiler comes from Debian's packages and requires apt-get and root"
        rm -rf "$old"
        mkdir -p "$old/debs"
        apt-get update -q || echo "apt-get update failed, so the existing lists are used"
        apt-get install --download-only --no-install-recommends -y -q \
            -o Dir::Cache::Archives="$old/debs" -o APT::Sandbox::User=root \
            "rustc-web=$msrv.*" "cargo-web=$msrv.*" "libstd-rust-web-dev=$msrv.*" ||
            fail "the library was NOT checked with Rust $msrv: Debian's packages of that version are not available"
        for deb in "$old"/debs/*.deb; do dpkg-deb -x "$deb" "$old"; done
        rm -r "$old/debs"
    fi
    with_old_rust rustc --version
    with_old_rust cargo --version
    is_old_rust || fail "the library was NOT checked with Rust $msrv: the unpacked compiler has another version"
}
