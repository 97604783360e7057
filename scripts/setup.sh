#!/bin/sh
# Make .venv from the lock files. Runs again from any half-way state; `make` calls it when a lock file is newer.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
    without_venv=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        fits "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        without_venv="$candidate"
    done
    if [ -n "$without_venv" ]; then
        say "$without_venv comes without its venv or ensurepip module, so it cannot make .venv."
        say "  next: install them (Debian, Ubuntu: the package python3-venv, or python3.12-venv by version), then run make again"
    else
        say "convtrack needs Python 3.11, 3.12 or 3.13. Looked at: ${PYTHON:-python3 python3.13 python3.12 python3.11}"
        say "  next: install one, or name one you have: make ${MAKE_TARGET:-setup} PYTHON=/path/to/python3.12"
    fi
    exit 1
}

# company certificates and the package index that pip is configured for also hold for uv
hand_pip_settings_to_uv() {
    setting() { .venv/bin/python -m pip config get "$1" 2>/dev/null || true; }
    export UV_SYSTEM_CERTS=1 UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}"
    index="${PIP_INDEX_URL:-$(setting global.index-url)}"
    extra="${PIP_EXTRA_INDEX_URL:-$(setting global.extra-index-url)}"
    certificates="${PIP_CERT:-$(setting global.cert)}"
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
    if [ -n "$extra" ]; then
        # the hashes in the lock decide what is right, so any index may serve it
        UV_EXTRA_INDEX_URL="${UV_EXTRA_INDEX_URL:-$(printf '%s' "$extra" | tr '\n' ' ')}"
        export UV_EXTRA_INDEX_URL UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"
    fi
    if [ -n "$certificates" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"; fi
}

if ! { fits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    python=$(find_python)
    say "making .venv with $("$python" --version) ($python)"
    "$python" -m venv --clear .venv
fi

uv=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-uv.lock)
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv" ]; then
    say "fetching uv $uv, the installer"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
fi

hand_pip_settings_to_uv
say "installing what requirements.lock names, each file and what builds it checked by its hash (about 3.5 GB on disk)"
export VIRTUAL_ENV="$PWD/.venv"
again=""
# an installation that was cut off may have left a package with half of its files
if [ -e .venv/.unfinished ]; then again="--reinstall"; fi
touch .venv/.unfinished
.venv/bin/uv pip install $again --require-hashes --build-constraint requirements.lock --compile-bytecode \
    -r requirements.lock
.venv/bin/uv pip install --quiet --offline --no-deps --no-build-isolation --editable .
rm .venv/.unfinished
touch .venv/.ready
