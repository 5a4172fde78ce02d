"""What executing a run needs: the ports, and the site's current rules and jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from catcher.jobs.artifacts import KeyBuilder, build_artifact_key
from catcher.jobs.inputs import InputFetcher
from catcher.jobs.observations import Observations
from catcher.jobs.registry import Registry
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Clock, nanoseconds_to_seconds
from catcher.ports import Executor, History, Images, Ledger, ObjectStore, StoreUnavailable

T = TypeVar("T")
INITIAL_BACKOFF, MAX_BACKOFF = 0.5, 10.0
"""Seconds between two retries at an unavailable store."""
RunReporter = Callable[[Run], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class RunContext:
    """A run keeps the context it started with, whatever is reloaded meanwhile.

    `local_executor` is an executor on this machine, used when `executor` is unavailable.
    """

    rules: Mapping[str, Rule]
    registry: Registry
    executor: Executor
    local_executor: Executor
    ledger: Ledger
    history: History
    images: Images | None
    objects: ObjectStore
    observations: Observations
    inputs: InputFetcher
    clock: Clock
    engine: str
    report_run: RunReporter = field(repr=False)
    sleep: Sleep = field(repr=False)
    increment_counter: Callable[[str], None] = field(repr=False, default=lambda what: None)
    build_key: KeyBuilder = field(repr=False, default=build_artifact_key)

    async def retry_until_available(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Retries an operation until the store is available: meanwhile, work waits."""
        delay = INITIAL_BACKOFF
        while True:
            try:
                return await operation()
            except StoreUnavailable as error:
                self.increment_counter("store_away")
                await self.sleep(max(delay, nanoseconds_to_seconds(error.retry_after or 0)))
                delay = min(MAX_BACKOFF, 2 * delay)
