"""A run in parts, one a detector say: what they come to together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from catcher.model.observation import Observation
from catcher.model.result import Metric, Output, Result
from catcher.model.run import Outcome, Run

SUMMARIES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "median": statistics.median,
    "max": max,
}


def part_of(run: Run, part: str, about: Observation) -> Run:
    """The run of one part about an observation; its id is the whole's with the part behind.

    What an id cannot hold is written `_`, with a digest, so that no two parts share an id.
    """
    name = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in part)
    if name != part:
        name += f"-{blake2b(part.encode('utf-8', 'replace'), digest_size=3).hexdigest()}"
    return replace(
        run, id=f"{run.id}.{name}", part=part, parent=run.id, observation=about.id,
        columns=about.columns,
    )  # fmt: skip


def labelled(run: Run, label: str) -> Run:
    """A part's run with its part as a label on each metric."""
    metrics = {name: metric.labelled(label, run.part) for name, metric in run.metrics.items()}
    return replace(run, metrics=metrics)


def results(parts: Sequence[Run]) -> dict[str, Result]:
    """What a gather job gets as `parts`: the results of those that are done, by part."""
    return {
        one.part: Result(one.metrics, one.fields, {}, one.note)
        for one in parts
        if one.state == "done"
    }


def absent(wanted: Sequence[str], parts: Sequence[Run]) -> dict[str, str]:
    """What a gather job gets as `missing`: the parts without a result, and why."""
    over = {one.part: one for one in parts}
    return {
        part: (over[part].error or over[part].state) if part in over else "not done in time"
        for part in wanted
        if part not in over or over[part].state != "done"
    }


def summary(wanted: Sequence[str], parts: Sequence[Run], none_is_failed: bool = True) -> Outcome:
    """Without a gather job: the least, median and greatest of each metric over the parts.

    `parts` and `parts_missing` count them. With no part done the whole has failed, unless
    that, too, is something to tell: a night without exposures, or one of which none is there.
    """
    done = results(parts)
    missing = absent(wanted, parts)
    if not done and none_is_failed:
        first = next(iter(missing.items()), ("", "there are none"))
        words = f"none of the {len(wanted)} parts was done; {first[0]}: {first[1]}"
        return Outcome("failed", error=words, retry=False)
    metrics = {"parts": Metric(float(len(done))), "parts_missing": Metric(float(len(missing)))}
    for name in sorted({name for one in done.values() for name in one.metrics}):
        for word, metric in _summarised(name, done).items():
            metrics[f"{name}_{word}"] = metric
    return Outcome("done", Output(metrics=metrics, note=missing_note(missing)))


def missing_note(missing: Mapping[str, str]) -> str:
    """One line that names the parts without a result, at most ten of them."""
    named = [f"{part} ({why})"[:80] for part, why in list(missing.items())[:10]]
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return f"missing: {', '.join(named)}{more}" if named else ""


def _summarised(name: str, done: Mapping[str, Result]) -> dict[str, Metric]:
    metrics = [one.metrics[name] for one in done.values() if name in one.metrics]
    known = [one for one in metrics if isinstance(one, Metric) and one.known]
    values = [one.value for one in known if one.value is not None]
    if not values:
        return {word: Metric(None, reason="no part knows it") for word in SUMMARIES}
    return {word: Metric(float(of(values)), known[0].unit) for word, of in SUMMARIES.items()}
