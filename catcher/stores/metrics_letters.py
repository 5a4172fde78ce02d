"""Points that a metric store will never take, kept on disk in line protocol with its reason.

    # 2025-04-24T00:05:13Z the server answered 400: field type conflict
    catcher.mount-jitter,rule=mount-jitter image_impact_rms=0.07 1745453113000000000

Mended by hand, the file can be sent again: `influx write --file` in 2.x, `curl --data-binary`
to `/write` in 1.x.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catcher.model.text import plain
from catcher.model.time import Instant, format_instant

LARGEST = 16 * 2**20


@dataclass(slots=True)
class DeadPoints:
    """A file that grows up to a bound; `lost` counts what it did not take."""

    path: Path | None
    largest: int = LARGEST
    lost: int = 0

    def keep(self, line: str, reason: str, now: Instant) -> None:
        """Puts a point and the reason into the file, or counts it as lost."""
        text = f"# {format_instant(now)} {plain(reason, 300)}\n{line}\n".encode("utf-8", "replace")
        try:
            if self.path is None or self._size() + len(text) > self.largest:
                self.lost += 1
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(text)
        except OSError:
            self.lost += 1

    def _size(self) -> int:
        return self.path.stat().st_size if self.path is not None and self.path.exists() else 0
