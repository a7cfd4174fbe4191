#!/bin/sh
# Make .venv and install pinned requirements into it: with uv where it is present or can be had from pip, else with venv and
# pip. Usage: PYTHON=python3 sh docs/install.sh REQUIREMENTS
set -eu
requirements=$1
python=${PYTHON:-python3}

"$python" - <<'CHECK'
import sys
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed, this is %d.%d. Name another one: make PYTHON=python3.12 …" % sys.version_info[:2])
CHECK

find_uv() {
    command -v uv && return
    [ -x build/uv/bin/uv ] || "$python" -m pip install --quiet --disable-pip-version-check --target build/uv uv >&2 || return
    echo build/uv/bin/uv
}

with_uv() {
    uv=$(find_uv) || return
    [ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv || return
    "$uv" pip install --quiet --python .venv/bin/python --require-hashes --requirements "$requirements"
}

with_pip() {
    [ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$requirements"
}

echo "Installing $requirements into .venv …" >&2
with_uv || { echo "uv is not to be had; going on with pip." >&2; with_pip; }
