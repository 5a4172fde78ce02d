"""Artifacts under the conventions of an observatory's Large File Annex.

With `full` for `salname[:index]` a key is
`{full}/{generator}/{yyyy}/{mm}/{dd}/{full}_{generator}_{TAI isot}{suffix}`.
The day is that of the observing night: TAI less 12 hours. The generator is the rule and the
artifact's name, the time that of the firing in TAI; the suffix begins with the run, so that two
runs of one instant stand side by side. Each file is told of in a message that is shaped as SAL's
`largeFileObjectAvailable`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from catcher.model.run import ArtifactRecord, Run
from catcher.model.time import HOUR, MILLISECOND, SECOND, utc_to_tai

EVENT = "logevent_largeFileObjectAvailable"
VERSION = 1.0
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class LargeFiles:
    """Under which name of a component files are kept; `index` where it has several."""

    salname: str
    index: int | None = None

    @property
    def full(self) -> str:
        """The component with its index."""
        return self.salname if self.index is None else f"{self.salname}:{self.index}"

    def key(self, run: Run, name: str) -> str:
        """Where an artifact of a run is kept."""
        tai = utc_to_tai(run.firing.time)
        day = _shown(tai - 12 * HOUR)[:10].replace("-", "/")
        generator, suffix = _generator(run.rule, name), PurePosixPath(name).suffix
        file = f"{self.full}_{generator}_{_shown(tai)}_{_plain(run.id)}{_plain(suffix)}"
        return f"{self.full}/{generator}/{day}/{file}"

    def event(self, run: Run, artifact: ArtifactRecord) -> dict[str, Any]:
        """What is told of a file that is there."""
        return {
            "salIndex": self.index or 0,
            "url": artifact.url,
            "generator": _generator(run.rule, artifact.name),
            "version": VERSION,
            "byteSize": artifact.size,
            "checkSum": artifact.checksum.rpartition(":")[2],
            "mimeType": artifact.mime,
            "id": run.observation or run.id,
            "private_sndStamp": utc_to_tai(run.finished or run.firing.time) / SECOND,
        }

    def topic(self, pattern: str) -> str:
        """Where it is told: `{salname}` and `{event}` in a pattern stand for what they say."""
        return pattern.replace("{salname}", self.salname).replace("{event}", EVENT)


def _generator(rule: str, name: str) -> str:
    return _plain(f"{rule}_{PurePosixPath(name).stem}") or "catcher"


def _plain(text: str) -> str:
    """Text that may stand in a file's name, dots at its end cut off."""
    return _OTHER.sub("-", text)[:80].rstrip(".")


def _shown(tai: int) -> str:
    """A time as `isot` writes it, to the millisecond."""
    whole, rest = divmod(tai, SECOND)
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest // MILLISECOND:03d}"
