"""Stores the results of a run: artifacts as objects, the rest in the run itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.jobs.artifact_codecs import encode_artifact
from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.observation import Observation
from catcher.model.result import EncodedArtifact, JobOutput
from catcher.model.run import ArtifactRecord, InputRecord, JobOutcome, Run
from catcher.model.time import Instant, Span, format_instant
from catcher.ports import ObjectStore

MAX_PRINTED_LENGTH = 4096
KeyBuilder = Callable[[Run, str], str]
"""Returns the object key of an artifact, from its run and name."""


def mark_running(run: Run, now: Instant, engine: str, observation: Observation | None) -> Run:
    """Returns the run as started, with its observation."""
    columns: Mapping[str, Any] = observation.columns if observation else run.columns
    return replace(
        run,
        state="running",
        started=now,
        engine=engine,
        observation=observation.id if observation else run.observation,
        columns=columns,
    )


def mark_finished(run: Run, outcome: JobOutcome, now: Instant, deadline: Span | None) -> Run:
    """Returns the finished run, without its artifacts. Its deadline counts from `run.created`."""
    output = outcome.output or JobOutput()
    return replace(
        run,
        state=outcome.state,
        finished=now,
        error=outcome.error,
        traceback=_format_traceback_with_output(outcome),
        note=output.note,
        metrics=output.metrics,
        fields=output.fields,
        missed_deadline=deadline is not None and now - run.created > deadline,
    )


def add_input_checksums(
    records: Sequence[InputRecord], outcome: JobOutcome
) -> tuple[InputRecord, ...]:
    """Adds the checksums computed by the worker to the input records."""
    return tuple(
        replace(
            record, checksum=outcome.files[record.name][0], samples=outcome.files[record.name][1]
        )
        if record.name in outcome.files
        else record
        for record in records
    )


def encode_series_inputs(arguments: Mapping[str, Any]) -> tuple[EncodedArtifact, ...]:
    """Encodes the telemetry among the arguments as artifacts named by
    `format_input_artifact_name`.
    """
    return tuple(
        encode_artifact(format_input_artifact_name(name), value)
        for name, value in arguments.items()
        if isinstance(value, Series)
    )


def format_input_artifact_name(name: str) -> str:
    """Returns the name of the artifact that stores an input."""
    return f"input-{name}.parquet"


async def store_artifacts(
    run: Run, artifacts: tuple[EncodedArtifact, ...], objects: ObjectStore, build_key: KeyBuilder
) -> Run:
    """Stores the artifacts and lists them in the run.

    One that cannot be stored is named in the run's note: the metrics are useful without it.
    """
    records, failures = [], []
    for artifact in artifacts:
        key = build_key(run, artifact.name)
        try:
            await objects.put(key, artifact)
        except (CatcherError, OSError) as error:
            failures.append(f"{artifact.name} could not be kept: {error}")
            continue
        records.append(_build_record(run, key, artifact, objects.build_url(key)))
    note = "; ".join([run.note, *failures] if run.note else failures)
    return replace(run, artifacts=tuple(records), note=note)


def build_artifact_key(run: Run, name: str) -> str:
    """Returns the key of an artifact: `mount-jitter/2023/07/28/<run>[/<part>]/<name>`."""
    day = format_instant(run.firing.time)[:10].replace("-", "/")
    root_id = run.parent or run.id
    part = run.id.removeprefix(f"{root_id}.") if run.parent else ""
    return "/".join(segment for segment in (run.rule, day, root_id, part, name) if segment)


def _build_record(run: Run, key: str, artifact: EncodedArtifact, url: str) -> ArtifactRecord:
    return ArtifactRecord(
        key=key,
        name=artifact.name,
        run=run.id,
        rule=run.rule,
        time=run.firing.time,
        size=len(artifact.data),
        mime=artifact.mime,
        checksum=f"sha256:{hashlib.sha256(artifact.data).hexdigest()}",
        observation=run.observation,
        url=url,
    )


def _format_traceback_with_output(outcome: JobOutcome) -> str:
    """Returns the traceback, with the end of what a failed job printed."""
    if outcome.state == "done" or not outcome.console_output.strip():
        return outcome.traceback
    printed = outcome.console_output[-MAX_PRINTED_LENGTH:].rstrip()
    return f"{outcome.traceback.rstrip()}\n\nThe job printed:\n{printed}\n".lstrip()
