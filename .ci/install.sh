#!/bin/sh
# Makes .venv with the locked dependencies. Needs Python 3.11 and, where uv is not yet there, pip
# or (as root, on Debian) apt to get pip.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Catcher needs Python 3.11 or newer; say PYTHON=/path/to/python3.11" >&2
    exit 1
}

find_uv() {
    if command -v uv >/dev/null 2>&1; then command -v uv; return; fi
    if [ -x .tools/bin/uv ]; then echo .tools/bin/uv; return; fi
    return 1
}

get_uv() {
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            echo "installing pip (apt)" >&2
            apt-get update -q >/dev/null
            DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-pip >/dev/null
        else
            echo "neither uv nor pip is here; install one (apt install python3-pip) and try again" >&2
            exit 1
        fi
    fi
    echo "installing uv" >&2
    "$python" -m pip install -q --target .tools uv >&2
}

uv=$(find_uv) || { get_uv; uv=$(find_uv); }
echo "installing the locked dependencies" >&2
"$uv" venv -q --allow-existing --python "$("$python" -c 'import sys; print(sys.executable)')" .venv
VIRTUAL_ENV=.venv "$uv" pip sync -q --require-hashes requirements.lock
VIRTUAL_ENV=.venv "$uv" pip install -q --no-deps --editable .
# Installers leave bytecode to the first import, which never writes it where the environment says
# PYTHONDONTWRITEBYTECODE (many containers do): each start of a command would compile for a second.
.venv/bin/python - <<'EOF'
import compileall, pathlib, sysconfig
home = pathlib.Path(sysconfig.get_path("purelib"))
often = "click fastapi jinja2 numpy pydantic reactivex rich sqlalchemy starlette typer uvicorn yaml"
for folder in ("catcher", *(home / name for name in often.split())):
    compileall.compile_dir(folder, quiet=2)
EOF
