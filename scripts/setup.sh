#!/usr/bin/env bash
# Makes .venv from uv.lock: `make setup`, and before every other target. Says nothing when there is nothing to do.
# Where the machine has no uv, it goes into a virtual environment of its own in the cache folder.
set -euo pipefail
cd "$(dirname "$0")/.."

TOOLS="${ATTUNE_CACHE:-$HOME/.cache/attune}/tools"
readonly TOOLS

die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

python311() {
    local name
    for name in python3.11 python3 python; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    die "no Python 3.11 found; install it (Debian: apt-get install python3 python3-venv) and try again"
}

# An environment of its own works under PEP 668 too. Without ensurepip (Debian's python3-venv is missing), pip makes it.
install_uv() {
    local python
    python="$(python311)"
    echo "setup: installing uv into $TOOLS"
    export PIP_ROOT_USER_ACTION=ignore
    if "$python" -m venv "$TOOLS" >/dev/null 2>&1; then
        "$TOOLS/bin/pip" install --quiet --disable-pip-version-check uv
    else
        "$python" -m pip install --quiet --disable-pip-version-check --upgrade --target "$TOOLS/lib" uv ||
            die "cannot make a virtual environment nor install with pip; install python3-venv, or uv, and try again"
        mkdir -p "$TOOLS/bin"
        ln -sf ../lib/bin/uv "$TOOLS/bin/uv"
    fi
}

export PATH="$PATH:$TOOLS/bin"
uv --version >/dev/null 2>&1 || install_uv
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"
if [ -x .venv/bin/python ]; then
    uv sync --locked --quiet
else
    echo "setup: installing uv.lock into .venv (with the training stack, about 5 GB the first time)"
    uv sync --locked --no-progress --quiet
fi
