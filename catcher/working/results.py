"""What a job returned, checked: numbers are finite or unknown with a reason, files are bytes."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded, Field, Metric, Output, Result
from catcher.working.forms import LARGEST, encode

MOST_NAMES = 10_000
MOST_BYTES = 4 * LARGEST
LONGEST_NOTE = 500
RESERVED = "catcher"
"""The name under which a result event carries where it comes from."""
RETURN_RESULT = "return catcher.Result(metrics={...}, artifacts={...})"


def checked(returned: object) -> Output:
    """The output of a job. CatcherError names what came back instead of a result.

    A `Result` it should be; a mapping of numbers is taken for metrics, None for an empty result.
    """
    if inspect.iscoroutine(returned):
        returned.close()
        raise CatcherError("the job returned a coroutine", "declare it with `async def`")
    if returned is None:
        return Output()
    if isinstance(returned, Mapping):
        return Output(metrics=_metrics(returned))
    if not isinstance(returned, Result):
        raise CatcherError(f"the job returned {_shown(returned)}, no result", RETURN_RESULT)
    return Output(
        metrics=_metrics(_mapping(returned.metrics, "metrics")),
        fields=_fields(_mapping(returned.fields, "fields")),
        artifacts=_artifacts(_mapping(returned.artifacts, "artifacts")),
        note=" ".join(str(returned.note).split())[:LONGEST_NOTE],
    )


def _mapping(given: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise CatcherError(f"the {what} of the result are {_shown(given)}", "give a dict by name")
    if len(given) > MOST_NAMES:
        raise CatcherError(f"the result has {len(given)} {what}, at most {MOST_NAMES} are kept")
    return given


def _metrics(given: Mapping[Any, Any]) -> dict[str, Metric]:
    return {_name(name, "metric"): _metric(name, value) for name, value in given.items()}


def _metric(name: str, value: object) -> Metric:
    if isinstance(value, Metric):
        labels = {str(key): str(label) for key, label in value.labels.items()}
        number, reason = _number(name, value.value)
        return Metric(number, str(value.unit), labels, str(value.reason) or reason)
    number, reason = _number(name, value)
    return Metric(number, reason=reason)


def _number(name: str, value: object) -> tuple[float | None, str]:
    """A finite number, or None and why there is none."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
        value = value.item()
    if value is None:
        return None, "the job gave no value"
    if not isinstance(value, numbers.Real | np.bool_):
        raise CatcherError(f"the metric {name!r} is {_shown(value)}", "a metric is one number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return (number, "") if math.isfinite(number) else (None, f"the job gave {number}")


def _fields(given: Mapping[Any, Any]) -> dict[str, Field]:
    for name, value in given.items():
        if not isinstance(value, Field):
            hint = "give catcher.Field(over, ids, values)"
            raise CatcherError(f"the field {name!r} is {_shown(value)}", hint)
    return {
        _name(name, "field"): Field(str(one.over), one.ids, one.values, str(one.unit))
        for name, one in given.items()
    }


def _artifacts(given: Mapping[Any, Any]) -> tuple[Encoded, ...]:
    artifacts, total = [], 0
    for name, item in given.items():
        if not isinstance(name, str):
            raise CatcherError(f"an artifact is named {_shown(name)}", "name it like plot.png")
        artifacts.append(encode(str.__str__(name), item))
        total += len(artifacts[-1].data)
        if total > MOST_BYTES:
            most = MOST_BYTES // 2**20
            raise CatcherError(f"the artifacts have more than {most} MiB together", "keep fewer")
    return tuple(artifacts)


def _name(name: object, what: str) -> str:
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 100:
        raise CatcherError(
            f"a {what} is named {_shown(name)}",
            "use letters, digits and _, since rules write it in expressions",
        )
    if name == RESERVED:
        raise CatcherError(f"a {what} cannot be named {RESERVED!r}", "give it another name")
    return str.__str__(name)


def _shown(value: object) -> str:
    """The kind of a value and how it begins, whatever its `repr` does."""
    kind = type(value).__name__
    if isinstance(value, str | int | float | complex | bool | None):
        return f"{value!r:.60} ({kind})"
    size = f" of {len(value)}" if isinstance(value, list | tuple | set | dict) else ""
    return f"a {kind}{size}"
