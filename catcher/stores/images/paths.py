"""Images found by a path pattern.

    observations:
      exposure:
        image: "/data/{dayObs}/{id}_{seqNum:05d}/{detector}.fits"

The file has to be below the part of the pattern before its first `{`, links resolved.
"""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.stores.images.url_templates import (
    ambiguous_image_error,
    fill_pattern,
    get_base_folder,
    is_per_detector,
    match_detectors,
    missing_image_error,
    missing_pattern_error,
    split_at_detector,
)

_FILE_SCHEME = "file://"


class PathImages:
    """`ports.Images` over files.

    `patterns` maps a kind of observation to its pattern, `base` is the folder that relative
    patterns start from, `roots` are further folders that images may be linked into. A kind without
    a pattern uses the observation's own `image`, under `base`.
    """

    def __init__(self, patterns: Mapping[str, str], base: Path, roots: Sequence[Path] = ()) -> None:
        self._patterns = {kind: text.removeprefix(_FILE_SCHEME) for kind, text in patterns.items()}
        self._base = base.absolute()
        self._roots = tuple(roots)

    async def find_image_path(self, observation: Observation, detector: str = "") -> str:
        """Returns the path of a readable file. Raises CatcherError naming what was searched for."""
        return await asyncio.to_thread(self._find_file, observation, detector)

    async def list_detectors(self, observation: Observation) -> Sequence[str]:
        """Returns the detectors that have a file now, sorted; empty if the pattern has none."""
        return await asyncio.to_thread(self._list_detectors, observation)

    def _find_file(self, observation: Observation, detector: str) -> str:
        pattern, root = self._get_pattern_and_root(observation)
        if is_per_detector(pattern) and not detector:
            detector = self._find_only_detector(observation)
        path = self._base / fill_pattern(pattern, observation, detector)
        return validate_image_path(path, (root, *self._roots), observation)

    def _find_only_detector(self, observation: Observation) -> str:
        detectors = self._list_detectors(observation)
        if len(detectors) == 1:
            return detectors[0]
        raise ambiguous_image_error(observation, detectors)

    def _list_detectors(self, observation: Observation) -> list[str]:
        pattern, _ = self._get_pattern_and_root(observation)
        if not is_per_detector(pattern):
            return []
        prefix, *suffixes = split_at_detector(pattern, observation)
        folder_name, _, file_prefix = prefix.rpartition("/")
        folder = self._base / (folder_name or ("/" if prefix.startswith("/") else ""))
        literals = (file_prefix, *suffixes)
        paths = folder.glob("*".join(glob.escape(literal) for literal in literals))
        return match_detectors(literals, (path.relative_to(folder).as_posix() for path in paths))

    def _get_pattern_and_root(self, observation: Observation) -> tuple[str, Path]:
        """Returns the pattern of an observation, and the folder that its images must be under."""
        pattern = self._patterns.get(observation.kind, "")
        if pattern:
            return pattern, self._base / get_base_folder(pattern)
        if observation.image:
            return observation.image.removeprefix(_FILE_SCHEME), self._base
        raise missing_pattern_error(observation)


def validate_image_path(path: Path, roots: Sequence[Path], observation: Observation) -> str:
    """Returns the path if it is a readable file under one of the roots; else CatcherError."""
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise CatcherError(
            f"the image {path} lies outside {roots[0] if roots else 'every folder of images'}",
            "images have to stay under their folder",
        )
    if not path.is_file():
        raise missing_image_error(path, observation)
    if not os.access(path, os.R_OK):
        raise CatcherError(f"the image {path} may not be read", "give this user the right to")
    return str(path)
