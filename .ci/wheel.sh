#!/bin/sh
# Builds the wheel, installs it into an empty environment and uses it far from the checkout.
set -eu
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo "$PWD/.tools/bin/uv")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$uv" build -q --wheel --out-dir "$work" .
"$uv" venv -q --python .venv/bin/python "$work/venv"
VIRTUAL_ENV="$work/venv" "$uv" pip install -q --constraint requirements.lock "$work"/*.whl
cd "$work"
"$work/venv/bin/catcher" check
"$work/venv/bin/catcher" demo --exit-after 15s --data "$work/data" > "$work/demo.log"
"$work/venv/bin/catcher" runs --data "$work/data" --json | grep -q '"state": *"done"'
echo "the wheel runs in an empty environment"
