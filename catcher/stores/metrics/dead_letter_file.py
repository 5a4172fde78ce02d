"""Points that a metric store rejected, stored on disk in line protocol with the reason.

    # 2025-04-24T00:05:13Z the server answered 400: field type conflict
    catcher.mount-jitter,rule=mount-jitter image_impact_rms=0.07 1745453113000000000

Once fixed manually, the file can be sent again: `influx write --file` in 2.x, `curl --data-binary`
to `/write` in 1.x.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catcher.model.text import sanitize_single_line
from catcher.model.time import Instant, format_instant

MAX_FILE_BYTES = 16 * 2**20


@dataclass(slots=True)
class DeadLetterFile:
    """A file with a size limit; `lost_points` counts what did not fit."""

    path: Path | None
    max_bytes: int = MAX_FILE_BYTES
    lost_points: int = 0

    def append_point(self, line: str, reason: str, now: Instant) -> None:
        """Appends a point and the reason to the file, or counts it as lost."""
        text = f"# {format_instant(now)} {sanitize_single_line(reason, 300)}\n{line}\n".encode(
            "utf-8", "replace"
        )
        try:
            if self.path is None or self._file_size() + len(text) > self.max_bytes:
                self.lost_points += 1
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(text)
        except OSError:
            self.lost_points += 1

    def _file_size(self) -> int:
        return self.path.stat().st_size if self.path is not None and self.path.exists() else 0
