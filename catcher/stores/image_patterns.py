"""The patterns of images' addresses: `/data/{dayObs}/{id}_{seqNum:05d}/{detector}.fits`.

`{id}` is the observation's id, `{detector}` the part of it, any other name one of the
observation's `columns`; `:05d` pads a whole number with zeros. What is filled in comes from a
stream, so it may not hold a `/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError

DETECTOR = "detector"
_PLACE = re.compile(r"\{([A-Za-z_]\w*)(?::(0?\d{1,2})d?)?\}")
_MARK = "\0"
MOST_PARTS = 10_000


def per_detector(pattern: str) -> bool:
    """Whether each detector has an image of its own."""
    return any(match[1] == DETECTOR for match in _PLACE.finditer(pattern))


def column_of(pattern: str) -> str:
    """The name of the column that holds a whole address, of a pattern such as `{url}`."""
    match = _PLACE.fullmatch(pattern)
    return match[1] if match is not None and match[1] not in ("id", DETECTOR) else ""


def head(pattern: str) -> str:
    """The folder before the first name of a pattern, with its slash; all images are below it."""
    before = pattern.split("{", 1)[0]
    return before[: before.rfind("/") + 1]


def filled(pattern: str, observation: Observation, detector: str = "") -> str:
    """The address of an image; CatcherError names what the observation lacks."""
    values = {**observation.columns, "id": observation.id, DETECTOR: detector}
    return _PLACE.sub(lambda match: _fill(pattern, match, values), pattern)


def around(pattern: str, observation: Observation) -> tuple[str, ...]:
    """What stands before, between and after the detector's name in an address."""
    return tuple(filled(pattern, observation, _MARK).split(_MARK))


def detectors(pieces: tuple[str, ...], names: Iterable[str]) -> list[str]:
    """The detectors whose addresses are among some names, sorted; `pieces` as `around` has them."""
    first, *others = pieces
    again = f"(?P={DETECTOR})".join(re.escape(piece) for piece in others)
    fitting = re.compile(f"{re.escape(first)}(?P<{DETECTOR}>[^/]+){again}")
    matches = (fitting.fullmatch(name) for name in names)
    return sorted({match[DETECTOR] for match in matches if match})[:MOST_PARTS]


def no_pattern(observation: Observation) -> CatcherError:
    """What is told where nothing is said of an observation's images."""
    return CatcherError(
        f"it is not said where the images of {observation.kind} are",
        f"add `image:` to {observation.kind} under `observations:` in catcher.yaml",
    )


def many(observation: Observation, found: list[str]) -> CatcherError:
    """What is told where one image is asked for and each detector has its own."""
    named = ", ".join(found[:5]) or "none there"
    return CatcherError(
        f"{observation.kind} {observation.id} has an image for each detector ({named})",
        "say `each: detector` in the rule's job",
    )


def absent(address: object, observation: Observation) -> CatcherError:
    """What is told where there is no image at an address."""
    return CatcherError(
        f"there is no image {address} of {observation.kind} {observation.id}",
        "it may not be written yet, or `image:` under `observations:` is not where images are",
    )


def _fill(pattern: str, match: re.Match[str], values: Mapping[str, Any]) -> str:
    name, width = match[1], match[2]
    if values.get(name) is None:
        known = ", ".join(sorted(values))
        raise CatcherError(
            f"the image pattern {pattern!r} needs {name!r}, which this observation lacks",
            f"it has {known}",
        )
    if values[name] == _MARK:
        return _MARK
    return _part(name, values[name], width or "")


def _part(name: str, value: Any, width: str) -> str:
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if whole else str(value)
    if width and text.lstrip("-").isdigit():
        text = format(int(text), f"{width}d")
    bad = "/" in text or "\\" in text or text in ("", ".", "..") or len(text) > 255
    if bad or _MARK in text:
        raise CatcherError(
            f"{text[:80]!r} cannot be a part of an image's path (as {name})",
            "a name from a stream may not hold a slash",
        )
    return text
