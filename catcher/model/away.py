"""What is raised where something outside cannot be had now."""

from __future__ import annotations

from catcher.model.problem import CatcherError
from catcher.model.time import Span


class StoreAway(CatcherError):
    """A store did not answer or refused to write; what was asked may be asked again later.

    `retry_after` (nanoseconds) is what the store asked for.
    """

    def __init__(self, message: str, hint: str = "", retry_after: Span | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class Fenced(CatcherError):
    """Another engine has taken over the ledger: this one may write nothing more, and ends."""


class ExecutorAway(Exception):
    """The cluster cannot be reached, or was lost before it answered: nobody knows what became of
    the call, and it may be asked again when the cluster is back."""
