"""The day after: what of the night is missing, or was not processed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catcher import Field, Metric, Observation, Result, job

from .lib.plots import listed

OVER = ("done", "replaced")
"""How a run may end that leaves nothing to be done."""
NEVER = "never"


@job
def look_again(
    observation: Observation,
    images: Sequence[str] = (),
    runs: Mapping[str, str] | None = None,
    expected: Sequence[str] = (),
) -> Result:
    """Looks at one observation of the night: are its images there, did its runs end well?

    observation: the one it is about. images: the detectors that have an image of it now. runs:
    how the latest run of each rule about it ended. expected: rules that have to have run for it.

    Metrics: `images`, and `unprocessed`, how many rules did not end well or never ran. The note
    names them.
    """
    undone = _undone(runs or {}, expected)
    words = [f"{rule} {state}" for rule, state in undone.items()]
    if not images:
        words.insert(0, "no image")
    return Result(
        metrics={"images": float(len(images)), "unprocessed": float(len(undone))},
        note=f"{observation.id}: {', '.join(words)}" if words else f"{observation.id}: all is done",
    )


@job
def night_summary(
    parts: Mapping[str, Any],
    missing: Mapping[str, str] | None = None,
    runs: Mapping[str, Mapping[str, str]] | None = None,
    expected: Sequence[str] = (),
) -> Result:
    """What is missing of a night, from `look_again` of each of its observations.

    parts: the results by observation. missing: observations that could not be looked at, and why.
    runs: by observation, how the latest run of each rule ended. expected: rules that have to have
    run for each.

    Metrics: `observations`, `without_image`, `short_of_images` (fewer than most have),
    `unprocessed` (with a rule that did not end well, or never ran), `not_seen`. Fields over
    `observation`: `images`, `unprocessed`. Artifacts: `night.json` and `night.csv`, a row for each
    observation. The note names what is missing.
    """
    known, unseen = runs or {}, missing or {}
    counts = {name: _value(part, "images") for name, part in parts.items()}
    undone = {name: _undone(known.get(name, {}), expected) for name in (*parts, *unseen)}
    empty = sorted(name for name, count in counts.items() if count == 0)
    usual = float(np.median([count for count in counts.values() if count > 0] or [0.0]))
    short = sorted(name for name, count in counts.items() if 0 < count < usual)
    unprocessed = sorted(name for name, rules in undone.items() if rules)
    names = sorted(undone)
    table = [_row(name, counts.get(name), undone[name], unseen.get(name, "")) for name in names]
    images = np.array([counts.get(name, np.nan) for name in names])
    left = np.array([float(len(undone[name])) for name in names])
    return Result(
        metrics={
            "observations": Metric(float(len(names))),
            "without_image": Metric(float(len(empty))),
            "short_of_images": Metric(float(len(short))),
            "unprocessed": Metric(float(len(unprocessed))),
            "not_seen": Metric(float(len(unseen))),
        },
        fields={
            "images": Field("observation", names, images),
            "unprocessed": Field("observation", names, left),
        },
        artifacts={"night.json": table, **({"night.csv": table} if table else {})},
        note=_message(names, empty, short, {name: undone[name] for name in unprocessed}, unseen),
    )


def _undone(runs: Mapping[str, str], expected: Sequence[str]) -> dict[str, str]:
    """Rules that did not end well, and how; those that never ran."""
    never = {rule: NEVER for rule in expected if rule not in runs}
    return {**{rule: state for rule, state in runs.items() if state not in OVER}, **never}


def _value(part: object, name: str) -> float:
    metric = getattr(part, "metrics", {}).get(name)
    value = metric.value if isinstance(metric, Metric) else metric
    return float(value) if value is not None else 0.0


def _row(
    name: str, images: float | None, undone: Mapping[str, str], trouble: str
) -> dict[str, object]:
    return {
        "observation": name,
        "images": images,
        "unprocessed": ", ".join(f"{rule}: {state}" for rule, state in undone.items()),
        "not_seen": trouble,
    }


def _message(
    names: Sequence[str], empty: Sequence[str], short: Sequence[str],
    undone: Mapping[str, Mapping[str, str]], unseen: Mapping[str, str],
) -> str:  # fmt: skip
    if not names:
        return "no observations: nothing was missed, or nothing was heard of"
    words = []
    if empty:
        words.append(f"{len(empty)} without an image ({listed(empty)})")
    if short:
        words.append(f"{len(short)} with fewer images than most ({listed(short)})")
    if undone:
        told = [f"{name}: {', '.join(rules)}" for name, rules in undone.items()]
        words.append(f"{len(undone)} not processed ({listed(told)})")
    if unseen:
        words.append(f"{len(unseen)} that could not be looked at ({listed(sorted(unseen))})")
    count = f"{len(names)} observation{'' if len(names) == 1 else 's'}"
    return f"Of {count}: {'; '.join(words)}" if words else f"{count}, all there and processed"
