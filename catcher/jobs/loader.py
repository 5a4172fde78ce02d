"""Loads a job's function from its address, wherever the call is executed.

Each version of a job file becomes a package of its own, under a unique name, so that the sites of
one process, and the versions of one site, never clash. The loaded packages are in `sys.modules`.
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

from catcher.jobs.decorator import JOB_ATTRIBUTE
from catcher.model.errors import CatcherError
from catcher.model.run import JobAddress

MODULE_PREFIX = "_catcher_jobs_"
_IMPORT_LOCK = threading.RLock()


class _FreshLoader(SourceFileLoader):
    """Always compiles the file: a bytecode cache misses edits within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_job_function(address: JobAddress) -> Callable[..., Any]:
    """Returns the function at an address; a version that is already loaded is not read again.

    Raises CatcherError if the file or the function is missing, and whatever the file raises.
    """
    path = Path(address.site) / address.file
    package = _get_package_name(address)
    # Two async jobs may load at once, and a module is in sys.modules before it is complete.
    with _IMPORT_LOCK:
        module = sys.modules.get(f"{package}.{path.stem}") or _import_module(path, package)
    function = vars(module).get(address.function)
    if not callable(function) or not hasattr(function, JOB_ATTRIBUTE):
        raise CatcherError(
            f"{address.file} has no job {address.function!r}", "was it edited? load the site again"
        )
    return function  # type: ignore[no-any-return]


def _get_package_name(address: JobAddress) -> str:
    path_hash = hashlib.blake2b(
        f"{address.site}\0{address.file}".encode(), digest_size=6
    ).hexdigest()
    return f"{MODULE_PREFIX}{path_hash}_{address.digest}"


def _import_module(path: Path, package: str) -> ModuleType:
    if not path.is_file():
        raise CatcherError(f"the job file {path.name} is gone", "put it back, or load the site")
    _unload_modules(package.rpartition("_")[0])
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
        _unload_modules(package)
        raise
    return module


def _unload_modules(prefix: str) -> None:
    """Drops earlier versions of a job file; code that is running keeps its references."""
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
