"""Artifacts under the conventions of an observatory's Large File Annex.

With `full` for `salname[:index]` a key is
`{full}/{generator}/{yyyy}/{mm}/{dd}/{full}_{generator}_{TAI isot}{suffix}`.
The day is that of the observing night: TAI less 12 hours. The generator is the rule and the
artifact's name, the time that of the firing in TAI; the suffix begins with the run, so that two
runs of one instant have different keys. Each file is announced in a message that is shaped as
SAL's `largeFileObjectAvailable`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from catcher.model.run import ArtifactRecord, Run
from catcher.model.time import HOUR, MILLISECOND, SECOND, utc_to_tai

EVENT_NAME = "logevent_largeFileObjectAvailable"
EVENT_VERSION = 1.0
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_UNSAFE_CHARS = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class LargeFiles:
    """The component name under which files are stored; `index` if it has several instances."""

    salname: str
    index: int | None = None

    @property
    def full_name(self) -> str:
        """The component with its index."""
        return self.salname if self.index is None else f"{self.salname}:{self.index}"

    def build_object_key(self, run: Run, name: str) -> str:
        """Returns the key under which an artifact of a run is stored."""
        tai = utc_to_tai(run.firing.time)
        day = _format_isot(tai - 12 * HOUR)[:10].replace("-", "/")
        generator, suffix = _build_generator_name(run.rule, name), PurePosixPath(name).suffix
        file_name = (
            f"{self.full_name}_{generator}_{_format_isot(tai)}_"
            f"{_sanitize_file_name(run.id)}{_sanitize_file_name(suffix)}"
        )
        return f"{self.full_name}/{generator}/{day}/{file_name}"

    def build_event_fields(self, run: Run, artifact: ArtifactRecord) -> dict[str, Any]:
        """Returns the fields of the event that announces a file."""
        return {
            "salIndex": self.index or 0,
            "url": artifact.url,
            "generator": _build_generator_name(run.rule, artifact.name),
            "version": EVENT_VERSION,
            "byteSize": artifact.size,
            "checkSum": artifact.checksum.rpartition(":")[2],
            "mimeType": artifact.mime,
            "id": run.observation or run.id,
            "private_sndStamp": utc_to_tai(run.finished or run.firing.time) / SECOND,
        }

    def format_topic(self, pattern: str) -> str:
        """Returns the topic of the event: a pattern with `{salname}` and `{event}` filled in."""
        return pattern.replace("{salname}", self.salname).replace("{event}", EVENT_NAME)


def _build_generator_name(rule: str, name: str) -> str:
    return _sanitize_file_name(f"{rule}_{PurePosixPath(name).stem}") or "catcher"


def _sanitize_file_name(text: str) -> str:
    """Returns text that is safe in a file's name, with dots at its end removed."""
    return _UNSAFE_CHARS.sub("-", text)[:80].rstrip(".")


def _format_isot(tai: int) -> str:
    """Formats a time as `isot`, to the millisecond."""
    seconds, nanoseconds = divmod(tai, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanoseconds // MILLISECOND:03d}"
