"""The patterns of image addresses: `/data/{dayObs}/{id}_{seqNum:05d}/{detector}.fits`.

`{id}` is the observation's id, `{detector}` its part, any other name one of the observation's
`columns`; `:05d` pads an integer with zeros. The values come from a stream, so they may not contain
a `/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from catcher.model.errors import CatcherError
from catcher.model.observation import Observation

DETECTOR_FIELD = "detector"
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)(?::(0?\d{1,2})d?)?\}")
_DETECTOR_MARKER = "\0"
MAX_DETECTORS = 10_000


def is_per_detector(pattern: str) -> bool:
    """True if each detector has its own image."""
    return any(match[1] == DETECTOR_FIELD for match in _PLACEHOLDER.finditer(pattern))


def find_url_column(pattern: str) -> str:
    """Returns the column with the complete address, of a pattern such as `{url}`; else empty."""
    match = _PLACEHOLDER.fullmatch(pattern)
    return match[1] if match is not None and match[1] not in ("id", DETECTOR_FIELD) else ""


def get_base_folder(pattern: str) -> str:
    """Returns the folder before a pattern's first name, with its slash; all images are below it."""
    prefix = pattern.split("{", 1)[0]
    return prefix[: prefix.rfind("/") + 1]


def fill_pattern(pattern: str, observation: Observation, detector: str = "") -> str:
    """Returns the address of an image. Raises CatcherError naming what the observation lacks."""
    values = {**observation.columns, "id": observation.id, DETECTOR_FIELD: detector}
    return _PLACEHOLDER.sub(lambda match: _fill_placeholder(pattern, match, values), pattern)


def split_at_detector(pattern: str, observation: Observation) -> tuple[str, ...]:
    """Returns the parts of an address before, between and after the detector's name."""
    return tuple(fill_pattern(pattern, observation, _DETECTOR_MARKER).split(_DETECTOR_MARKER))


def match_detectors(literals: tuple[str, ...], names: Iterable[str]) -> list[str]:
    """Returns the detectors whose addresses are among some names, sorted.

    `literals` are as `split_at_detector` returns them.
    """
    prefix, *suffixes = literals
    suffix_pattern = f"(?P={DETECTOR_FIELD})".join(re.escape(literal) for literal in suffixes)
    regex = re.compile(f"{re.escape(prefix)}(?P<{DETECTOR_FIELD}>[^/]+){suffix_pattern}")
    matches = (regex.fullmatch(name) for name in names)
    return sorted({match[DETECTOR_FIELD] for match in matches if match})[:MAX_DETECTORS]


def missing_pattern_error(observation: Observation) -> CatcherError:
    """Returns the error if no image pattern is configured for an observation."""
    return CatcherError(
        f"it is not said where the images of {observation.kind} are",
        f"add `image:` to {observation.kind} under `observations:` in catcher.yaml",
    )


def ambiguous_image_error(observation: Observation, detectors: list[str]) -> CatcherError:
    """Returns the error if one image is requested but each detector has its own."""
    listing = ", ".join(detectors[:5]) or "none there"
    return CatcherError(
        f"{observation.kind} {observation.id} has an image for each detector ({listing})",
        "say `each: detector` in the rule's job",
    )


def missing_image_error(address: object, observation: Observation) -> CatcherError:
    """Returns the error if there is no image at an address."""
    return CatcherError(
        f"there is no image {address} of {observation.kind} {observation.id}",
        "it may not be written yet, or `image:` under `observations:` is not where images are",
    )


def _fill_placeholder(pattern: str, match: re.Match[str], values: Mapping[str, Any]) -> str:
    name, width = match[1], match[2]
    if values.get(name) is None:
        available = ", ".join(sorted(values))
        raise CatcherError(
            f"the image pattern {pattern!r} needs {name!r}, which this observation lacks",
            f"it has {available}",
        )
    if values[name] == _DETECTOR_MARKER:
        return _DETECTOR_MARKER
    return _format_path_part(name, values[name], width or "")


def _format_path_part(name: str, value: Any, width: str) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if is_whole else str(value)
    if width and text.lstrip("-").isdigit():
        text = format(int(text), f"{width}d")
    is_invalid = "/" in text or "\\" in text or text in ("", ".", "..") or len(text) > 255
    if is_invalid or _DETECTOR_MARKER in text:
        raise CatcherError(
            f"{text[:80]!r} cannot be a part of an image's path (as {name})",
            "a name from a stream may not hold a slash",
        )
    return text
