"""Fetches the peers of `rules.py` into folders of their own, out of the project's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS_FOLDER = ROOT / ".tools" / "peers"
PEER_PACKAGES = {
    "bytewax": "bytewax==0.21.*",
    "streamz": "streamz==0.6.*",
    "durable_rules": "durable_rules==2.0.*",
}
"""reactivex is not among them: Catcher's streams are made of it, so that it is here already."""
OTHER_PACKAGES = {
    "duckdb": "duckdb==1.*",
    "aioinflux": "aioinflux==0.9.*",
    "influxdb": "influxdb==5.3.*",
    "boto3": "boto3>=1.40",
    # With what it needs for deblending; numpy, scipy and astropy are the project's own.
    "photutils": "--no-deps photutils==3.* scikit-image lazy-loader networkx",
}
"""What other benchmarks measure against."""
TIMEOUT = 180


def install_packages(names: Collection[str] = tuple(PEER_PACKAGES)) -> dict[str, str]:
    """Installs what is not there yet; returns the peers that could not be, and why."""
    missing = {}
    for name in names:
        requirement = {**PEER_PACKAGES, **OTHER_PACKAGES}[name]
        folder = PEERS_FOLDER / name
        if folder.is_dir():
            continue
        temp_folder = PEERS_FOLDER / f".{name}"
        shutil.rmtree(temp_folder, ignore_errors=True)
        try:
            process = subprocess.run(
                [*_installer_command(), "--target", str(temp_folder), *requirement.split()],
                capture_output=True, text=True, timeout=TIMEOUT, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            missing[name] = str(error)
            continue
        if process.returncode:
            missing[name] = (process.stderr.strip() or "no reason given").splitlines()[-1]
        else:
            temp_folder.rename(folder)
    return missing


def _installer_command() -> list[str]:
    uv = shutil.which("uv") or shutil.which("uv", path=ROOT / ".tools" / "bin")
    if uv:
        return [uv, "pip", "install", "-q", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "-q"]


def build_environment(names: Collection[str] = tuple(PEER_PACKAGES)) -> dict[str, str]:
    """The environment of a process that may import the peers."""
    paths = [str(ROOT), *(str(PEERS_FOLDER / name) for name in names)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
