#!/bin/sh
# Create .venv from the lock files. Can be run again after any interruption. `make` runs it when a lock file is newer.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
    without_venv=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        supported "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        without_venv="$candidate"
    done
    if [ -n "$without_venv" ]; then
        say "$without_venv has no venv or ensurepip module, so it cannot create .venv."
        say "  next: install them (on Debian and Ubuntu the package python3-venv, or python3.12-venv), then run make again"
    else
        say "convtrack needs Python 3.11, 3.12 or 3.13. Tried: ${PYTHON:-python3 python3.13 python3.12 python3.11}"
        say "  next: install one, or give the path of one: make ${MAKE_TARGET:-setup} PYTHON=/path/to/python3.12"
    fi
    exit 1
}

# use pip's package index and certificates for uv too
pass_pip_settings_to_uv() {
    setting() { .venv/bin/python -m pip config get "$1" 2>/dev/null || true; }
    export UV_SYSTEM_CERTS=1 UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}"
    index="${PIP_INDEX_URL:-$(setting global.index-url)}"
    extra="${PIP_EXTRA_INDEX_URL:-$(setting global.extra-index-url)}"
    certificates="${PIP_CERT:-$(setting global.cert)}"
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
    if [ -n "$extra" ]; then
        # safe, because the lock file has the hashes of all packages
        UV_EXTRA_INDEX_URL="${UV_EXTRA_INDEX_URL:-$(printf '%s' "$extra" | tr '\n' ' ')}"
        export UV_EXTRA_INDEX_URL UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"
    fi
    if [ -n "$certificates" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"; fi
}

if ! { supported .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    python=$(find_python)
    say "creating .venv with $("$python" --version) ($python)"
    "$python" -m venv --clear .venv
fi

uv=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-uv.lock)
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv" ]; then
    say "installing uv $uv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
fi

pass_pip_settings_to_uv
say "installing the packages of requirements.lock, verified by their hashes (about 4 GB on disk)"
export VIRTUAL_ENV="$PWD/.venv"
again=""
# an interrupted installation may have left incomplete packages
if [ -e .venv/.unfinished ]; then again="--reinstall"; fi
touch .venv/.unfinished
.venv/bin/uv pip install $again --require-hashes --build-constraint requirements.lock --compile-bytecode \
    -r requirements.lock
.venv/bin/uv pip install --quiet --offline --no-deps --no-build-isolation --editable .
MLFLOW_LOGGING_LEVEL=WARNING .venv/bin/python -c "from convtrack.tracking import sqlite; sqlite.make_template()"
rm .venv/.unfinished
touch .venv/.ready
