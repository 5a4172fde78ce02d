"""Images found by a path pattern.

    observations:
      exposure:
        image: "/data/{dayObs}/{id}_{seqNum:05d}/{detector}.fits"

The file has to lie under the part of the pattern before its first `{`, links resolved.
"""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.stores.image_patterns import (
    absent,
    around,
    detectors,
    filled,
    head,
    many,
    no_pattern,
    per_detector,
)

_FILE = "file://"


class PathImages:
    """`ports.Images` over files.

    `patterns` maps a kind of observation to its pattern, `base` is the folder that relative
    patterns start from, `roots` are further folders that images may be linked into. A kind
    without a pattern uses the observation's own `image`, under `base`.
    """

    def __init__(self, patterns: Mapping[str, str], base: Path, roots: Sequence[Path] = ()) -> None:
        self._patterns = {kind: text.removeprefix(_FILE) for kind, text in patterns.items()}
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
        if per_detector(pattern) and not detector:
            detector = self._only_detector(observation)
        path = self._base / filled(pattern, observation, detector)
        return readable(path, (root, *self._roots), observation)

    def _only_detector(self, observation: Observation) -> str:
        found = self._parts(observation)
        if len(found) == 1:
            return found[0]
        raise many(observation, found)

    def _parts(self, observation: Observation) -> list[str]:
        pattern, _ = self._pattern(observation)
        if not per_detector(pattern):
            return []
        first, *others = around(pattern, observation)
        before, _, name = first.rpartition("/")
        folder = self._base / (before or ("/" if first.startswith("/") else ""))
        pieces = (name, *others)
        found = folder.glob("*".join(glob.escape(piece) for piece in pieces))
        return detectors(pieces, (path.relative_to(folder).as_posix() for path in found))

    def _pattern(self, observation: Observation) -> tuple[str, Path]:
        """The pattern of an observation, and the folder that its images must stay under."""
        pattern = self._patterns.get(observation.kind, "")
        if pattern:
            return pattern, self._base / head(pattern)
        if observation.image:
            return observation.image.removeprefix(_FILE), self._base
        raise no_pattern(observation)


def readable(path: Path, roots: Sequence[Path], observation: Observation) -> str:
    """The path, if it is a file under one of the roots that may be read; else CatcherError."""
    resolved = path.resolve()
    if not any(resolved.is_relative_to(one.resolve()) for one in roots):
        raise CatcherError(
            f"the image {path} lies outside {roots[0] if roots else 'every folder of images'}",
            "images have to stay under their folder",
        )
    if not path.is_file():
        raise absent(path, observation)
    if not os.access(path, os.R_OK):
        raise CatcherError(f"the image {path} may not be read", "give this user the right to")
    return str(path)
