"""Finds out the day after what of the night is missing, or was not processed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catcher import Field, Metric, Observation, Result, job

from .lib.plots import format_list

FINISHED_STATES = ("done", "replaced")
"""States of a finished run that need no further work."""
NEVER_RAN = "never"


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
    unprocessed = _unprocessed_rules(runs or {}, expected)
    problems = [f"{rule} {state}" for rule, state in unprocessed.items()]
    if not images:
        problems.insert(0, "no image")
    return Result(
        metrics={"images": float(len(images)), "unprocessed": float(len(unprocessed))},
        note=f"{observation.id}: {', '.join(problems)}"
        if problems
        else f"{observation.id}: all is done",
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
    known_runs, not_seen = runs or {}, missing or {}
    image_counts = {name: _metric_value(part, "images") for name, part in parts.items()}
    unprocessed_rules = {
        name: _unprocessed_rules(known_runs.get(name, {}), expected) for name in (*parts, *not_seen)
    }
    without_image = sorted(name for name, count in image_counts.items() if count == 0)
    typical_count = float(
        np.median([count for count in image_counts.values() if count > 0] or [0.0])
    )
    short_of_images = sorted(
        name for name, count in image_counts.items() if 0 < count < typical_count
    )
    unprocessed = sorted(name for name, rules in unprocessed_rules.items() if rules)
    names = sorted(unprocessed_rules)
    table = [
        _build_row(name, image_counts.get(name), unprocessed_rules[name], not_seen.get(name, ""))
        for name in names
    ]
    images = np.array([image_counts.get(name, np.nan) for name in names])
    unprocessed_counts = np.array([float(len(unprocessed_rules[name])) for name in names])
    return Result(
        metrics={
            "observations": Metric(float(len(names))),
            "without_image": Metric(float(len(without_image))),
            "short_of_images": Metric(float(len(short_of_images))),
            "unprocessed": Metric(float(len(unprocessed))),
            "not_seen": Metric(float(len(not_seen))),
        },
        fields={
            "images": Field("observation", names, images),
            "unprocessed": Field("observation", names, unprocessed_counts),
        },
        artifacts={"night.json": table, **({"night.csv": table} if table else {})},
        note=_format_message(
            names,
            without_image,
            short_of_images,
            {name: unprocessed_rules[name] for name in unprocessed},
            not_seen,
        ),
    )


def _unprocessed_rules(runs: Mapping[str, str], expected: Sequence[str]) -> dict[str, str]:
    """Returns the rules that did not end well, with their states, and those that never ran."""
    never_ran = {rule: NEVER_RAN for rule in expected if rule not in runs}
    return {
        **{rule: state for rule, state in runs.items() if state not in FINISHED_STATES},
        **never_ran,
    }


def _metric_value(part: object, name: str) -> float:
    metric = getattr(part, "metrics", {}).get(name)
    value = metric.value if isinstance(metric, Metric) else metric
    return float(value) if value is not None else 0.0


def _build_row(
    name: str, images: float | None, unprocessed: Mapping[str, str], error_text: str
) -> dict[str, object]:
    return {
        "observation": name,
        "images": images,
        "unprocessed": ", ".join(f"{rule}: {state}" for rule, state in unprocessed.items()),
        "not_seen": error_text,
    }


def _format_message(
    names: Sequence[str], without_image: Sequence[str], short_of_images: Sequence[str],
    unprocessed: Mapping[str, Mapping[str, str]], not_seen: Mapping[str, str],
) -> str:  # fmt: skip
    if not names:
        return "no observations: nothing was missed, or nothing was heard of"
    clauses = []
    if without_image:
        clauses.append(f"{len(without_image)} without an image ({format_list(without_image)})")
    if short_of_images:
        clauses.append(
            f"{len(short_of_images)} with fewer images than most ({format_list(short_of_images)})"
        )
    if unprocessed:
        details = [f"{name}: {', '.join(rules)}" for name, rules in unprocessed.items()]
        clauses.append(f"{len(unprocessed)} not processed ({format_list(details)})")
    if not_seen:
        clauses.append(
            f"{len(not_seen)} that could not be looked at ({format_list(sorted(not_seen))})"
        )
    count = f"{len(names)} observation{'' if len(names) == 1 else 's'}"
    return f"Of {count}: {'; '.join(clauses)}" if clauses else f"{count}, all there and processed"
