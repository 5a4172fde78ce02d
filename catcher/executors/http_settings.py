"""The settings of a service that runs jobs; every command reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from catcher.model.errors import CatcherError
from catcher.model.time import HOUR, SECOND, Span

DEFAULT_MEMORY = 2 * 2**30


@dataclass(frozen=True, slots=True)
class HttpExecutorSettings:
    """The keys under `executor: {http: ...}`.

    `url` is where the service answers and `form` how: `uws` as OCPS's UWS server, `noteburst`
    as Noteburst. `token` goes with each request. At most `jobs` are there at a time, looked
    after every `poll`; one that has not begun after `queue` is given up. `command`, `repository`
    and `commit` are what a UWS job runs, and where that comes from; `kernel` what a notebook
    runs in.
    """

    url: str
    form: Literal["uws", "noteburst"] = "uws"
    token: str = field(default="", repr=False)
    jobs: int = 32
    poll: Span = 2 * SECOND
    queue: Span = HOUR
    timeout: Span = 10 * SECOND
    memory: int | None = DEFAULT_MEMORY
    command: str = "python -m catcher.executors.portable_call"
    repository: str = ""
    commit: str = ""
    kernel: str = "LSST"

    def __post_init__(self) -> None:
        url_parts = urlsplit(self.url)
        if url_parts.scheme not in ("http", "https") or not url_parts.hostname:
            raise CatcherError("`url` is no web address", "write it like https://ocps.example/api")
        if self.jobs < 1:
            raise CatcherError("`jobs` is at least 1", "write it like jobs: 32")
