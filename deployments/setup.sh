#!/usr/bin/env bash
# Makes .venv exactly as uv.lock says; takes no time where that is done already. Called by every `make` target.
# Needs Python 3.11 or 3.12 and nothing else: uv is brought along where it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_VERSION=0.13.9 # the one that wrote uv.lock
UV_OLDEST=0.10.0  # nothing older was tried with this uv.lock
OWN=.f2f/uv

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: error: %s\n  next: %s\n' "$1" "$2" >&2
    exit 1
}

# The machine's own certificates, where it has them: networks with a CA of their own put it there.
system_certificates=/etc/ssl/certs/ca-certificates.crt
if [ -e "$system_certificates" ]; then
    export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} PIP_CERT=${PIP_CERT:-$system_certificates}
fi

# The first of PYTHON, python3, python3.12, python3.11 that is a version for which all wheels exist.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "needs Python 3.11 or 3.12, found $(python3 --version 2>&1 || true)" \
        "Debian 12 and Ubuntu 24.04: apt-get install python3; elsewhere: PYTHON=/path/to/python3.12 make"
}

works() { # is $1 a uv that runs, at least as new as $2?
    local version
    version=$("$1" --version 2>/dev/null | cut -d' ' -f2) && [ -n "$version" ] &&
        [ "$(printf '%s\n' "$2" "$version" | sort -V | head -n1)" = "$2" ]
}

find_uv() {
    if works uv "$UV_OLDEST"; then
        echo uv
    elif works "$OWN/bin/uv" "$UV_VERSION"; then
        echo "$OWN/bin/uv"
    else
        make_uv
        echo "$OWN/bin/uv"
    fi
}

make_uv() {
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local package
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
            fail "$python cannot make environments (module ensurepip is missing)" "sudo apt-get install $package"
        say "installing the system package $package"
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"; } >&2 ||
            fail "apt-get could not install $package" "install it by hand, or put uv on PATH"
    fi
    say "installing uv $UV_VERSION into $OWN"
    rm -rf "$OWN"
    "$python" -m venv "$OWN"
    "$OWN/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" >&2 ||
        fail "pip could not install uv $UV_VERSION" "check the network and pip's index settings, or put uv on PATH"
}

python=$(find_python)
wanted=$({ cat pyproject.toml uv.lock && "$python" --version && pwd; } | sha256sum)
stamp=.venv/.made-from
if [ -x .venv/bin/f2f ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

uv=$(find_uv)
say "making .venv with $("$python" --version) and $("$uv" --version): 2.5 GB, some minutes the first time"
started=$SECONDS
rm -f "$stamp"
unset VIRTUAL_ENV
UV_PYTHON=$python UV_PYTHON_DOWNLOADS=never "$uv" sync --frozen ||
    fail "uv could not make .venv" "run the same command again: what was fetched is kept"
printf '%s\n' "$wanted" >"$stamp"
say "done in $((SECONDS - started)) s"
