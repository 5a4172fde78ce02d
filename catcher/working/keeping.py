"""The results of a run are kept: artifacts as objects, the rest in the run itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.model.event import Series
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded, Output
from catcher.model.run import ArtifactRecord, InputRecord, Outcome, Run
from catcher.model.time import Instant, Span, format_instant
from catcher.ports import ObjectStore
from catcher.working.forms import encode

PRINTED_SHOWN = 4096
Keys = Callable[[Run, str], str]
"""The key of an artifact, by its run and its name."""


def begun(run: Run, now: Instant, engine: str, observation: Observation | None) -> Run:
    """The run as it begins, with what it is about."""
    columns: Mapping[str, Any] = observation.columns if observation else run.columns
    return replace(
        run,
        state="running",
        started=now,
        engine=engine,
        observation=observation.id if observation else run.observation,
        columns=columns,
    )


def ended(run: Run, outcome: Outcome, now: Instant, deadline: Span | None) -> Run:
    """The run as it ended, without its artifacts. The deadline counts from when it was due."""
    output = outcome.output or Output()
    return replace(
        run,
        state=outcome.state,
        finished=now,
        error=outcome.error,
        traceback=_told(outcome),
        note=output.note,
        metrics=output.metrics,
        fields=output.fields,
        missed_deadline=deadline is not None and now - run.created > deadline,
    )


def checked(records: Sequence[InputRecord], outcome: Outcome) -> tuple[InputRecord, ...]:
    """What was read, with the checksums that were taken where it was."""
    return tuple(
        replace(one, checksum=outcome.files[one.name][0], samples=outcome.files[one.name][1])
        if one.name in outcome.files
        else one
        for one in records
    )


def encoded_inputs(arguments: Mapping[str, Any]) -> tuple[Encoded, ...]:
    """The telemetry among the arguments, as artifacts that `kept_input` names."""
    return tuple(
        encode(kept_input(name), value)
        for name, value in arguments.items()
        if isinstance(value, Series)
    )


def kept_input(name: str) -> str:
    """What the artifact is called that an input is kept in."""
    return f"input-{name}.parquet"


async def keep(run: Run, artifacts: tuple[Encoded, ...], objects: ObjectStore, keys: Keys) -> Run:
    """Puts the artifacts where they are kept and lists them in the run.

    One that cannot be kept is named in the run's note: the numbers are worth telling without.
    """
    records, lost = [], []
    for item in artifacts:
        key = keys(run, item.name)
        try:
            await objects.put(key, item)
        except (CatcherError, OSError) as error:
            lost.append(f"{item.name} could not be kept: {error}")
            continue
        records.append(_record(run, key, item, objects.url(key)))
    note = "; ".join([run.note, *lost] if run.note else lost)
    return replace(run, artifacts=tuple(records), note=note)


def own_key(run: Run, name: str) -> str:
    """Where an artifact of a run lies: `mount-jitter/2023/07/28/<run>[/<part>]/<name>`."""
    day = format_instant(run.firing.time)[:10].replace("-", "/")
    whole = run.parent or run.id
    part = run.id.removeprefix(f"{whole}.") if run.parent else ""
    return "/".join(piece for piece in (run.rule, day, whole, part, name) if piece)


def _record(run: Run, key: str, item: Encoded, url: str) -> ArtifactRecord:
    return ArtifactRecord(
        key=key,
        name=item.name,
        run=run.id,
        rule=run.rule,
        time=run.firing.time,
        size=len(item.data),
        mime=item.mime,
        checksum=f"sha256:{hashlib.sha256(item.data).hexdigest()}",
        observation=run.observation,
        url=url,
    )


def _told(outcome: Outcome) -> str:
    """The traceback, and the end of what a failed job printed."""
    if outcome.state == "done" or not outcome.printed.strip():
        return outcome.traceback
    printed = outcome.printed[-PRINTED_SHOWN:].rstrip()
    return f"{outcome.traceback.rstrip()}\n\nThe job printed:\n{printed}\n".lstrip()
