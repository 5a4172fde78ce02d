"""The decorator that makes a function a job.

A job is a plain function in a file `jobs/*.py` of a site. Code that jobs share is in `jobs/lib/`
and is imported relative to the job, as `from .lib import plots`: this makes the files of each site
modules of their own, so two sites in one process never clash. Data files that jobs need are in
`jobs/lib/` too, beside the code that reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])
JOB_ATTRIBUTE = "__catcher_job__"


@overload
def job(function: F, /) -> F: ...
@overload
def job(*, name: str = "") -> Callable[[F], F]: ...
def job(function: Callable[..., Any] | None = None, /, *, name: str = "") -> Any:
    """Marks a function as a job; rules call it by its name, or by `name` if given.

    The function is unchanged: callable with arrays in a test, and async if it was. Works bare
    (`@job`) and with arguments (`@job(name="wind")`).
    """

    def decorate(decorated: F) -> F:
        setattr(decorated, JOB_ATTRIBUTE, name or decorated.__name__)
        return decorated

    return decorate if function is None else decorate(function)
