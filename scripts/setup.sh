#!/usr/bin/env bash
# Make .venv from uv.lock. Installs uv into a folder of its own when the machine has none. Quiet when nothing is to do.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="${ATTUNE_CACHE:-$HOME/.cache/attune}/tools"
export PATH="$tools/bin:$PATH"
if ! command -v uv >/dev/null; then
    echo "setup: installing uv into $tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check uv
fi
quiet=--quiet
[ -d .venv ] || { quiet=; echo "setup: installing uv.lock into .venv (the training stack is some 5 GB)"; }
uv sync --locked $quiet
