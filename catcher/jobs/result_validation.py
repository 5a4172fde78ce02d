"""Validates what a job returned: numbers are finite or unknown with a reason, files are bytes."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from catcher.jobs.artifact_codecs import MAX_ARTIFACT_BYTES, encode_artifact
from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact, Field, JobOutput, Metric, Result

MAX_NAMES = 10_000
MAX_TOTAL_BYTES = 4 * MAX_ARTIFACT_BYTES
MAX_NOTE_LENGTH = 500
RESERVED_NAME = "catcher"
"""The name under which a result event carries its origin."""
RESULT_HINT = "return catcher.Result(metrics={...}, artifacts={...})"


def validate_result(value: object) -> JobOutput:
    """Returns the output of a job; CatcherError describes what was returned instead of a result.

    It should be a `Result`; a mapping of numbers is taken as metrics, None as an empty result.
    """
    if inspect.iscoroutine(value):
        value.close()
        raise CatcherError("the job returned a coroutine", "declare it with `async def`")
    if value is None:
        return JobOutput()
    if isinstance(value, Mapping):
        return JobOutput(metrics=_parse_metrics(value))
    if not isinstance(value, Result):
        raise CatcherError(f"the job returned {_describe_value(value)}, no result", RESULT_HINT)
    return JobOutput(
        metrics=_parse_metrics(_require_mapping(value.metrics, "metrics")),
        fields=_parse_fields(_require_mapping(value.fields, "fields")),
        artifacts=_encode_artifacts(_require_mapping(value.artifacts, "artifacts")),
        note=" ".join(str(value.note).split())[:MAX_NOTE_LENGTH],
    )


def _require_mapping(value: object, noun: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise CatcherError(
            f"the {noun} of the result are {_describe_value(value)}", "give a dict by name"
        )
    if len(value) > MAX_NAMES:
        raise CatcherError(f"the result has {len(value)} {noun}, at most {MAX_NAMES} are kept")
    return value


def _parse_metrics(metrics: Mapping[Any, Any]) -> dict[str, Metric]:
    return {
        _check_name(name, "metric"): _parse_metric(name, value) for name, value in metrics.items()
    }


def _parse_metric(name: str, value: object) -> Metric:
    if isinstance(value, Metric):
        labels = {str(key): str(label) for key, label in value.labels.items()}
        number, reason = _parse_metric_value(name, value.value)
        return Metric(number, str(value.unit), labels, str(value.reason) or reason)
    number, reason = _parse_metric_value(name, value)
    return Metric(number, reason=reason)


def _parse_metric_value(name: str, value: object) -> tuple[float | None, str]:
    """Returns a finite number, or None and why there is none."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
        value = value.item()
    if value is None:
        return None, "the job gave no value"
    if not isinstance(value, numbers.Real | np.bool_):
        raise CatcherError(
            f"the metric {name!r} is {_describe_value(value)}", "a metric is one number"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return (number, "") if math.isfinite(number) else (None, f"the job gave {number}")


def _parse_fields(fields: Mapping[Any, Any]) -> dict[str, Field]:
    for name, value in fields.items():
        if not isinstance(value, Field):
            hint = "give catcher.Field(over, ids, values)"
            raise CatcherError(f"the field {name!r} is {_describe_value(value)}", hint)
    return {
        _check_name(name, "field"): Field(str(field.over), field.ids, field.values, str(field.unit))
        for name, field in fields.items()
    }


def _encode_artifacts(items: Mapping[Any, Any]) -> tuple[EncodedArtifact, ...]:
    artifacts, total_bytes = [], 0
    for name, item in items.items():
        if not isinstance(name, str):
            raise CatcherError(
                f"an artifact is named {_describe_value(name)}", "name it like plot.png"
            )
        artifacts.append(encode_artifact(str.__str__(name), item))
        total_bytes += len(artifacts[-1].data)
        if total_bytes > MAX_TOTAL_BYTES:
            limit_mib = MAX_TOTAL_BYTES // 2**20
            raise CatcherError(
                f"the artifacts have more than {limit_mib} MiB together", "keep fewer"
            )
    return tuple(artifacts)


def _check_name(name: object, noun: str) -> str:
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 100:
        raise CatcherError(
            f"a {noun} is named {_describe_value(name)}",
            "use letters, digits and _, since rules write it in expressions",
        )
    if name == RESERVED_NAME:
        raise CatcherError(f"a {noun} cannot be named {RESERVED_NAME!r}", "give it another name")
    return str.__str__(name)


def _describe_value(value: object) -> str:
    """Describes a value by its type, and a scalar by its beginning, without calling its `repr`."""
    kind = type(value).__name__
    if isinstance(value, str | int | float | complex | bool | None):
        return f"{value!r:.60} ({kind})"
    size = f" of {len(value)}" if isinstance(value, list | tuple | set | dict) else ""
    return f"a {kind}{size}"
