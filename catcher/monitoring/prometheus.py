"""Metrics in the text format of Prometheus (version 0.0.4).

https://github.com/prometheus/docs/blob/main/content/docs/instrumenting/exposition_formats.md
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_VALUE_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric: its name, type, help, and samples as (suffix, labels, value)."""

    name: str
    kind: Literal["counter", "gauge", "summary"]
    help_text: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _METRIC_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot be the name of a metric")

    def add_sample(self, value: float | None, suffix: str = "", **labels: str) -> None:
        """Adds one sample; an unknown value is omitted."""
        if value is not None:
            self.samples.append((suffix, labels, value))


def format_families(families: Iterable[MetricFamily]) -> str:
    """Formats the complete page. Families without samples are omitted, and so are duplicate
    samples: a single repeated line makes a scraper reject all of it."""
    return "".join(line for family in families if family.samples for line in _format_family(family))


def _format_family(family: MetricFamily) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help_text.translate(_HELP_ESCAPES)}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    written: set[str] = set()
    for suffix, labels, value in family.samples:
        name = f"{family.name}{suffix}{_format_labels(labels)}"
        if name not in written:
            written.add(name)
            yield f"{name} {_format_number(value)}\n"


def _format_labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = []
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a label")
        # A lone surrogate, which JSON may contain, is not valid UTF-8.
        valid_text = value.encode("utf-8", "replace").decode("utf-8")
        pairs.append(f'{name}="{valid_text.translate(_VALUE_ESCAPES)}"')
    return "{" + ",".join(pairs) + "}"


def _format_number(value: float) -> str:
    if isinstance(value, bool | int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
