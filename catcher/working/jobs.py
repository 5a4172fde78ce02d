"""The mark that makes a function a job.

A job is a plain function in a file `jobs/*.py` of a site. Code that jobs share lives in
`jobs/lib/` and is imported relative to the job, as `from .lib import plots`: the files of each
site are modules of their own then, and two sites in one process never clash. Data files that
jobs need lie in `jobs/lib/` too, beside the code that reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])
MARK = "__catcher_job__"


@overload
def job(function: F, /) -> F: ...
@overload
def job(*, name: str = "") -> Callable[[F], F]: ...
def job(function: Callable[..., Any] | None = None, /, *, name: str = "") -> Any:
    """Marks a function as a job; rules call it by its name, or by `name` where that is given.

    The function stays as it is, callable with arrays in a test, and async if it was. Bare
    (`@job`) and with arguments (`@job(name="wind")`).
    """

    def mark(marked: F) -> F:
        setattr(marked, MARK, name or marked.__name__)
        return marked

    return mark if function is None else mark(function)
