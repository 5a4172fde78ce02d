"""A job's function from its address, wherever the call is executed.

Each version of a job file becomes a package of its own, under a name that nobody else has, so
that the sites of one process, and the versions of one site, never clash. The loaded packages
are kept where Python keeps modules.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from catcher.model.problem import CatcherError
from catcher.model.run import JobAddress
from catcher.working.jobs import MARK

PREFIX = "_catcher_jobs_"
_LOADING = threading.RLock()


class _FreshLoader(SourceFileLoader):
    """Compiles the file as it now is: a cached one may be of an edit within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load(address: JobAddress) -> Callable[..., Any]:
    """The function at an address; a version that is already loaded is not read again.

    CatcherError where the file or the function isn't there, and whatever the file itself raises.
    """
    path = Path(address.site) / address.file
    package = _package(address)
    # Two async jobs may load at once, and a module stands in sys.modules before it is whole.
    with _LOADING:
        module = sys.modules.get(f"{package}.{path.stem}") or _import(path, package)
    function = vars(module).get(address.function)
    if not callable(function) or not hasattr(function, MARK):
        raise CatcherError(
            f"{address.file} has no job {address.function!r}", "was it edited? load the site again"
        )
    return function  # type: ignore[no-any-return]


def _package(address: JobAddress) -> str:
    where = hashlib.blake2b(f"{address.site}\0{address.file}".encode(), digest_size=6).hexdigest()
    return f"{PREFIX}{where}_{address.digest}"


def _import(path: Path, package: str) -> ModuleType:
    if not path.is_file():
        raise CatcherError(f"the job file {path.name} is gone", "put it back, or load the site")
    _forget(package.rpartition("_")[0])
    root = ModuleType(package)
    root.__path__ = [str(path.parent)]
    sys.modules[package] = root
    name = f"{package}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FreshLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise CatcherError(f"{path.name} cannot be loaded", "it has to be a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _forget(package)
        raise
    return module


def _forget(prefix: str) -> None:
    """Drops earlier versions of a job file: code that runs keeps what it holds."""
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
