"""Images found by a path pattern.

    observations:
      exposure:
        image: "/data/{dayObs}/{id}_{seqNum:05d}/{detector}.fits"

`{id}` is the observation's id, `{detector}` the part of it, any other name one of the
observation's `columns`; `:05d` pads a whole number with zeros. What is filled in comes from a
stream, so it may not hold a `/`, and the file has to lie under the part of the pattern before
its first `{`, links resolved.
"""

from __future__ import annotations

import asyncio
import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError

_PLACE = re.compile(r"\{([A-Za-z_]\w*)(?::(0?\d{1,2})d?)?\}")
MOST_PARTS = 10_000


class PathImages:
    """`ports.Images` over files.

    `patterns` maps a kind of observation to its pattern, `base` is the folder that relative
    patterns start from, `roots` are further folders that images may be linked into. A kind
    without a pattern uses the observation's own `image`, under `base`.
    """

    def __init__(self, patterns: Mapping[str, str], base: Path, roots: Sequence[Path] = ()) -> None:
        self._patterns = {kind: text.removeprefix("file://") for kind, text in patterns.items()}
        self._base = base.absolute()
        self._roots = tuple(roots)

    async def find(self, observation: Observation, detector: str = "") -> str:
        """The path of a readable file; CatcherError names what was looked for."""
        return await asyncio.to_thread(self._find, observation, detector)

    async def parts(self, observation: Observation) -> Sequence[str]:
        """The detectors that have a file now, sorted; empty where the pattern has none."""
        return await asyncio.to_thread(self._parts, observation)

    def _find(self, observation: Observation, detector: str) -> str:
        pattern, root = self._pattern(observation)
        if _per_detector(pattern) and not detector:
            detector = self._only_detector(observation)
        path = self._base / _filled(pattern, {**_values(observation), "detector": detector})
        self._check_place(path, root)
        if not path.is_file():
            raise CatcherError(
                f"there is no image {path} of {observation.kind} {observation.id}",
                "it may not be written yet, or `image:` under `observations:` is not where "
                "images are",
            )
        if not os.access(path, os.R_OK):
            raise CatcherError(f"the image {path} may not be read", "give this user the right to")
        return str(path)

    def _only_detector(self, observation: Observation) -> str:
        found = self._parts(observation)
        if len(found) == 1:
            return found[0]
        named = ", ".join(found[:5]) or "none there"
        raise CatcherError(
            f"{observation.kind} {observation.id} has an image for each detector ({named})",
            "say `each: detector` in the rule's job",
        )

    def _parts(self, observation: Observation) -> list[str]:
        pattern, _ = self._pattern(observation)
        if not _per_detector(pattern):
            return []
        filled = _filled(pattern, {**_values(observation), "detector": "\0"})
        folder = self._base / filled.split("\0", 1)[0].rpartition("/")[0]
        first, *others = str(self._base / filled).removeprefix(f"{folder}/").split("\0")
        again = "(?P=detector)".join(re.escape(part) for part in others)
        fitting = re.compile(f"{re.escape(first)}(?P<detector>[^/]+){again}")
        found = folder.glob("*".join(glob.escape(part) for part in (first, *others)))
        matches = (fitting.fullmatch(path.relative_to(folder).as_posix()) for path in found)
        return sorted({match["detector"] for match in matches if match})[:MOST_PARTS]

    def _pattern(self, observation: Observation) -> tuple[str, Path]:
        """The pattern of an observation, and the folder that its images must stay under."""
        pattern = self._patterns.get(observation.kind, "")
        if pattern:
            head = pattern.split("{", 1)[0]
            return pattern, self._base / head[: head.rfind("/") + 1]
        if observation.image:
            return observation.image.removeprefix("file://"), self._base
        raise CatcherError(
            f"it is not said where the images of {observation.kind} are",
            f"add `image:` to {observation.kind} under `observations:` in catcher.yaml",
        )

    def _check_place(self, path: Path, root: Path) -> None:
        resolved = path.resolve()
        if not any(resolved.is_relative_to(one.resolve()) for one in (root, *self._roots)):
            raise CatcherError(
                f"the image {path} lies outside {root}", "images have to stay under their folder"
            )


def _per_detector(pattern: str) -> bool:
    return any(match[1] == "detector" for match in _PLACE.finditer(pattern))


def _filled(pattern: str, values: Mapping[str, Any]) -> str:
    def fill(match: re.Match[str]) -> str:
        name, width = match[1], match[2]
        if values.get(name) is None:
            known = ", ".join(sorted(values))
            raise CatcherError(
                f"the image pattern {pattern!r} needs {name!r}, which this observation lacks",
                f"it has {known}",
            )
        return _part(name, values[name], width or "")

    return _PLACE.sub(fill, pattern)


def _values(observation: Observation) -> dict[str, Any]:
    return {**observation.columns, "id": observation.id}


def _part(name: str, value: Any, width: str) -> str:
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if whole else str(value)
    if width and text.lstrip("-").isdigit():
        text = format(int(text), f"{width}d")
    if "/" in text or "\\" in text or text in ("", ".", "..") or len(text) > 255:
        raise CatcherError(
            f"{text[:80]!r} cannot be a part of an image's path (as {name})",
            "a name from a stream may not hold a slash",
        )
    return text
