"""How much the embedded history keeps."""

from __future__ import annotations

from dataclasses import dataclass

from catcher.model.problem import CatcherError
from catcher.model.telemetry import Size
from catcher.model.time import DAY, MINUTE, Span

DEFAULT_SIZE = 2 * 2**30
SMALLEST = 10**6


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """How long samples are kept (from when they were written), and how much of the disk."""

    horizon: Span = DAY
    size: Size = DEFAULT_SIZE

    def __post_init__(self) -> None:
        if self.horizon < MINUTE or self.size < SMALLEST:
            raise CatcherError(
                "a history is kept for at least 1m and in at least 1MB", "raise horizon or size"
            )
