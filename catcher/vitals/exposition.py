"""Figures in the text form that Prometheus and its kin scrape (version 0.0.4).

https://github.com/prometheus/docs/blob/main/content/docs/instrumenting/exposition_formats.md
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_IN_VALUES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it is, and its samples as (suffix, labels, value)."""

    name: str
    kind: Literal["counter", "gauge", "summary"]
    about: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot be the name of a metric")

    def add(self, value: float | None, suffix: str = "", **labels: str) -> None:
        """One sample; what is not known is left out."""
        if value is not None:
            self.samples.append((suffix, labels, value))


def exposed(families: Iterable[Family]) -> str:
    """The whole page. A family without a sample is left out, and so is a sample seen before:
    one repeated line would have a scraper refuse all of it."""
    return "".join(line for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.about.translate(_IN_HELP)}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    seen: set[str] = set()
    for suffix, labels, value in family.samples:
        name = f"{family.name}{suffix}{_labels(labels)}"
        if name not in seen:
            seen.add(name)
            yield f"{name} {_number(value)}\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = []
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a label")
        # A lone surrogate, which JSON may carry, is no UTF-8.
        clean = value.encode("utf-8", "replace").decode("utf-8")
        pairs.append(f'{name}="{clean.translate(_IN_VALUES)}"')
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    if isinstance(value, bool | int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
