"""Compares the output of a run with that of the same job run again, by name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.result import EncodedArtifact, Field, JobOutput, Metric
from catcher.model.run import ArtifactRecord, Run

Row = dict[str, Any]
ArtifactDecoder = Callable[[str, bytes], Any]
ArtifactReader = Callable[[str], Awaitable[bytes]]
INPUT_PREFIX = "input-"
"""The prefix of the copies of inputs that a run stores among its artifacts."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was compared. `is_same` with `note`: equal, with a remark."""

    kind: str
    name: str
    is_same: bool
    note: str = ""

    def to_json(self) -> Row:
        """Returns a row of `catcher reproduce --json`."""
        return {"what": self.kind, "name": self.name, "same": self.is_same, "words": self.note}


def compare_metrics(run: Run, output: JobOutput, tolerance: float) -> Iterator[Comparison]:
    """Compares each metric, then and now, within a relative tolerance."""
    for name in {**run.metrics, **output.metrics}:
        expected, actual = run.metrics.get(name), output.metrics.get(name)
        if expected is None or actual is None:
            note = "made only now" if expected is None else "not made any more"
            yield Comparison("metric", name, False, note)
        else:
            yield _compare_metric(name, expected, actual, tolerance)


def _compare_metric(name: str, expected: Metric, actual: Metric, tolerance: float) -> Comparison:
    if expected.unit != actual.unit:
        return Comparison("metric", name, False, f"in {expected.unit!r} then, {actual.unit!r} now")
    expected_value = expected.value if expected.is_known else None
    actual_value = actual.value if actual.is_known else None
    if expected_value is None or actual_value is None:
        texts = [
            ("unknown" if value is None else f"{value:.9g}")
            for value in (expected_value, actual_value)
        ]
        is_same = expected_value is None and actual_value is None
        return Comparison(
            "metric", name, is_same, "" if is_same else f"{texts[0]} then, {texts[1]} now"
        )
    if expected_value == actual_value:
        return Comparison("metric", name, True)
    difference = abs(actual_value - expected_value)
    is_same = difference <= tolerance * max(abs(expected_value), abs(actual_value))
    note = f"{expected_value:.17g} then, {actual_value:.17g} now (by {difference:.3g})"
    return Comparison("metric", name, is_same, note)


def compare_fields(run: Run, output: JobOutput, tolerance: float) -> Iterator[Comparison]:
    """Compares each field, value by value."""
    for name in {**run.fields, **output.fields}:
        expected, actual = run.fields.get(name), output.fields.get(name)
        if expected is None or actual is None:
            note = "made only now" if expected is None else "not made any more"
            yield Comparison("field", name, False, note)
        else:
            note = _describe_field_difference(expected, actual, tolerance)
            yield Comparison("field", name, not note, note)


def _describe_field_difference(expected: Field, actual: Field, tolerance: float) -> str:
    if (expected.over, expected.unit, tuple(expected.ids)) != (
        actual.over,
        actual.unit,
        tuple(actual.ids),
    ):
        return (
            f"{len(expected.ids)} values by {expected.over} "
            f"then, {len(actual.ids)} by {actual.over} now"
        )
    is_close = np.isclose(expected.values, actual.values, rtol=tolerance, atol=0, equal_nan=True)
    differing_ids = [str(expected.ids[index]) for index in np.flatnonzero(~is_close).tolist()]
    return (
        f"differs at {', '.join(differing_ids[:5])}{' …' if len(differing_ids) > 5 else ''}"
        if differing_ids
        else ""
    )


async def compare_artifacts(
    run: Run,
    output: JobOutput,
    read_artifact: ArtifactReader,
    decode_artifact: ArtifactDecoder,
    tolerance: float,
) -> list[Comparison]:
    """Compares each artifact: by its bytes, and if these differ by its content."""
    expected = {
        artifact.name: artifact
        for artifact in run.artifacts
        if not artifact.name.startswith(INPUT_PREFIX)
    }
    actual = {artifact.name: artifact for artifact in output.artifacts}
    comparisons = []
    for name in {**expected, **actual}:
        if name not in expected or name not in actual:
            note = "made only now" if name not in expected else "not made any more"
            comparisons.append(Comparison("artifact", name, False, note))
        else:
            comparisons.append(
                await _compare_artifact(
                    expected[name], actual[name], read_artifact, decode_artifact, tolerance
                )
            )
    return comparisons


async def _compare_artifact(
    expected: ArtifactRecord,
    actual: EncodedArtifact,
    read_artifact: ArtifactReader,
    decode_artifact: ArtifactDecoder,
    tolerance: float,
) -> Comparison:
    name = expected.name
    if expected.checksum == f"sha256:{hashlib.sha256(actual.data).hexdigest()}":
        return Comparison("artifact", name, True)
    try:
        expected_data = await read_artifact(expected.key)
        is_same = is_content_equal(
            decode_artifact(name, expected_data), decode_artifact(name, actual.data), tolerance
        )
    except CatcherError as error:
        return Comparison("artifact", name, False, f"cannot be compared: {error.message}")
    if is_same:
        return Comparison("artifact", name, True, "the same content in other bytes")
    if name.endswith(".html"):
        # A page of Bokeh has random ids in it.
        return Comparison("artifact", name, True, "not compared: a page has new ids each time")
    note = f"differs ({len(expected_data)} bytes then, {len(actual.data)} now)"
    return Comparison("artifact", name, False, note)


def is_content_equal(expected: Any, actual: Any, tolerance: float) -> bool:
    """True if two decoded artifacts are equal, numbers within a relative tolerance."""
    if isinstance(expected, Series) and isinstance(actual, Series):
        return is_content_equal(
            {"": expected.time, **expected.columns}, {"": actual.time, **actual.columns}, tolerance
        )
    if isinstance(expected, Field) and isinstance(actual, Field):
        return not _describe_field_difference(expected, actual, tolerance)
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        has_same_keys = expected.keys() == actual.keys()
        return has_same_keys and all(
            is_content_equal(expected[name], actual[name], tolerance) for name in expected
        )
    if isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray):
        return _is_array_equal(expected, actual, tolerance)
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        return len(expected) == len(actual) and all(
            is_content_equal(left, right, tolerance)
            for left, right in zip(expected, actual, strict=True)
        )
    if isinstance(expected, float) and isinstance(actual, float):
        return expected == actual or math.isclose(expected, actual, rel_tol=tolerance)
    return type(expected) is type(actual) and bool(expected == actual)


def _is_array_equal(expected: Any, actual: Any, tolerance: float) -> bool:
    if expected.shape != actual.shape or expected.dtype.kind != actual.dtype.kind:
        return False
    if expected.dtype.kind in "fc":
        return bool(np.allclose(expected, actual, rtol=tolerance, atol=0, equal_nan=True))
    return bool(np.array_equal(expected, actual))
