"""What a run made and what the same job made again: each difference by its name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catcher.model.event import Series
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded, Field, Metric, Output
from catcher.model.run import ArtifactRecord, Run

Row = dict[str, Any]
Decode = Callable[[str, bytes], Any]
Read = Callable[[str], Awaitable[bytes]]
INPUT = "input-"
"""How the copies of inputs begin that a run keeps among its artifacts."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that was compared. `same` with `words`: alike, with a remark."""

    what: str
    name: str
    same: bool
    words: str = ""

    def as_json(self) -> Row:
        """A row of `catcher reproduce --json`."""
        return {"what": self.what, "name": self.name, "same": self.same, "words": self.words}


def compared_metrics(run: Run, output: Output, tolerance: float) -> Iterator[Verdict]:
    """Each metric, then and now, within a relative tolerance."""
    for name in {**run.metrics, **output.metrics}:
        then, now = run.metrics.get(name), output.metrics.get(name)
        if then is None or now is None:
            words = "made only now" if then is None else "not made any more"
            yield Verdict("metric", name, False, words)
        else:
            yield _metric(name, then, now, tolerance)


def _metric(name: str, then: Metric, now: Metric, tolerance: float) -> Verdict:
    if then.unit != now.unit:
        return Verdict("metric", name, False, f"in {then.unit!r} then, {now.unit!r} now")
    before = then.value if then.known else None
    after = now.value if now.known else None
    if before is None or after is None:
        shown = [("unknown" if one is None else f"{one:.9g}") for one in (before, after)]
        same = before is None and after is None
        return Verdict("metric", name, same, "" if same else f"{shown[0]} then, {shown[1]} now")
    if before == after:
        return Verdict("metric", name, True)
    difference = abs(after - before)
    same = difference <= tolerance * max(abs(before), abs(after))
    words = f"{before:.17g} then, {after:.17g} now (by {difference:.3g})"
    return Verdict("metric", name, same, words)


def compared_fields(run: Run, output: Output, tolerance: float) -> Iterator[Verdict]:
    """Each field, place by place."""
    for name in {**run.fields, **output.fields}:
        then, now = run.fields.get(name), output.fields.get(name)
        if then is None or now is None:
            words = "made only now" if then is None else "not made any more"
            yield Verdict("field", name, False, words)
        else:
            words = _field(then, now, tolerance)
            yield Verdict("field", name, not words, words)


def _field(then: Field, now: Field, tolerance: float) -> str:
    if (then.over, then.unit, tuple(then.ids)) != (now.over, now.unit, tuple(now.ids)):
        return f"{len(then.ids)} values by {then.over} then, {len(now.ids)} by {now.over} now"
    near = np.isclose(then.values, now.values, rtol=tolerance, atol=0, equal_nan=True)
    apart = [str(then.ids[place]) for place in np.flatnonzero(~near).tolist()]
    return f"differs at {', '.join(apart[:5])}{' …' if len(apart) > 5 else ''}" if apart else ""


async def compared_artifacts(
    run: Run, output: Output, read: Read, decode: Decode, tolerance: float
) -> list[Verdict]:
    """Each artifact: by its bytes, and where these differ by what it holds."""
    then = {one.name: one for one in run.artifacts if not one.name.startswith(INPUT)}
    now = {one.name: one for one in output.artifacts}
    verdicts = []
    for name in {**then, **now}:
        if name not in then or name not in now:
            words = "made only now" if name not in then else "not made any more"
            verdicts.append(Verdict("artifact", name, False, words))
        else:
            verdicts.append(await _artifact(then[name], now[name], read, decode, tolerance))
    return verdicts


async def _artifact(
    then: ArtifactRecord, now: Encoded, read: Read, decode: Decode, tolerance: float
) -> Verdict:
    name = then.name
    if then.checksum == f"sha256:{hashlib.sha256(now.data).hexdigest()}":
        return Verdict("artifact", name, True)
    try:
        before = await read(then.key)
        alike = equal(decode(name, before), decode(name, now.data), tolerance)
    except CatcherError as error:
        return Verdict("artifact", name, False, f"cannot be compared: {error.message}")
    if alike:
        return Verdict("artifact", name, True, "the same content in other bytes")
    if name.endswith(".html"):
        # A page of Bokeh's has ids in it that are made up anew each time.
        return Verdict("artifact", name, True, "not compared: a page has new ids each time")
    words = f"differs ({len(before)} bytes then, {len(now.data)} now)"
    return Verdict("artifact", name, False, words)


def equal(then: Any, now: Any, tolerance: float) -> bool:
    """Whether two decoded artifacts hold the same, numbers within a relative tolerance."""
    if isinstance(then, Series) and isinstance(now, Series):
        return equal({"": then.time, **then.columns}, {"": now.time, **now.columns}, tolerance)
    if isinstance(then, Field) and isinstance(now, Field):
        return not _field(then, now, tolerance)
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        same = then.keys() == now.keys()
        return same and all(equal(then[name], now[name], tolerance) for name in then)
    if isinstance(then, np.ndarray) and isinstance(now, np.ndarray):
        return _equal_arrays(then, now, tolerance)
    if isinstance(then, list | tuple) and isinstance(now, list | tuple):
        return len(then) == len(now) and all(
            equal(one, other, tolerance) for one, other in zip(then, now, strict=True)
        )
    if isinstance(then, float) and isinstance(now, float):
        return then == now or math.isclose(then, now, rel_tol=tolerance)
    return type(then) is type(now) and bool(then == now)


def _equal_arrays(then: Any, now: Any, tolerance: float) -> bool:
    if then.shape != now.shape or then.dtype.kind != now.dtype.kind:
        return False
    if then.dtype.kind in "fc":
        return bool(np.allclose(then, now, rtol=tolerance, atol=0, equal_nan=True))
    return bool(np.array_equal(then, now))
