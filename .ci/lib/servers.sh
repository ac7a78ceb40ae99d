# Installs the servers that tests start. Sourced by .ci/run, .ci/nightly and .ci/proof after steps.sh.

# The tests start servers of their own, so the installation starts none.
get_servers() { # package=version…
    local package missing=() policy=/usr/sbin/policy-rc.d
    for package in "$@"; do
        [[ "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "${package%%=*}" 2>/dev/null)" == "installed ${package#*=}"* ]] ||
            missing+=("$package*")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [[ "$(id -u)" = 0 && -n "$(command -v apt-get)" ]] || fail "root and apt-get are required to install ${missing[*]}"
    apt-get update -q || echo "apt-get update failed, so the existing lists are used"
    # A program of this name forbids packages to start a service. It is deleted afterwards.
    if [ ! -e "$policy" ]; then
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y -q "${missing[@]}"
}
