"""Computes finished runs again, with the same inputs and the same job version, and compares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catcher.app.executors import create_local_executor
from catcher.app.paths import LazyObjects, open_artifact_reader, resolve_ledger_url
from catcher.app.telemetry import get_archive_settings, open_telemetry_reader
from catcher.authoring.run_comparison import (
    Comparison,
    compare_artifacts,
    compare_fields,
    compare_metrics,
)
from catcher.expressions import ExpressionCompiler
from catcher.jobs.artifact_codecs import decode_artifact
from catcher.jobs.binding import bind_arguments
from catcher.jobs.fan_out import collect_results_by_part, find_missing_parts
from catcher.jobs.input_replay import InputReplayer, ReplayedInput
from catcher.jobs.registry import Registry
from catcher.model.errors import CatcherError, NotFound
from catcher.model.observation import Observation
from catcher.model.result import JobOutput
from catcher.model.rule import DETECTOR, JobSpec
from catcher.model.run import JobAddress, JobCall, JobOutcome, Run
from catcher.model.time import HOUR, wall_clock
from catcher.ports import Query
from catcher.site import Site
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.ledger.ledger import SqlLedger

Row = dict[str, Any]
TOLERANCE = 1e-9
"""Relative: another machine's mathematics may differ in the last digits."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result of a reproduction. `outcome` is None if the inputs are not what they were."""

    run: Run
    version: str
    inputs: Sequence[ReplayedInput]
    outcome: JobOutcome | None = None
    comparisons: Sequence[Comparison] = ()

    @property
    def is_same(self) -> bool:
        """True if the run was reproduced in every part."""
        is_readable = all(replayed.is_usable for replayed in self.inputs)
        return (
            is_readable
            and self.outcome is not None
            and all(comparison.is_same for comparison in self.comparisons)
        )

    def to_json(self) -> Row:
        """Returns the form of `catcher reproduce --json`."""
        return {
            "run": self.run.id,
            "rule": self.run.rule,
            "job": self.run.job,
            "version": self.version,
            "same": self.is_same,
            "inputs": [
                {
                    "name": replayed.record.name,
                    "address": replayed.record.address,
                    "state": replayed.state,
                    "words": replayed.message,
                }
                for replayed in self.inputs
            ],
            "results": [comparison.to_json() for comparison in self.comparisons],
        }


@dataclass(frozen=True, slots=True)
class _ReproductionStores:
    ledger: SqlLedger
    objects: LazyObjects
    replayer: InputReplayer


async def reproduce_run(
    site: Site, data: Path, run_id: str, use_current: bool, tolerance: float
) -> Reproduction:
    """Computes a run again; with `use_current` by the job as it is now.
    Raises CatcherError if there is no such run, it has no result, or its job version is gone.
    """
    async with _open_stores(site, data) as stores:
        run = await _get_finished_run(stores.ledger, run_id)
        registry, version = await asyncio.to_thread(_load_registry, site, data, run, use_current)
        inputs = await stores.replayer.replay_inputs(run)
        if not all(replayed.is_usable for replayed in inputs):
            return Reproduction(run, version, inputs)
        job = _select_job_name(run, site, registry)
        arguments = await _bind_arguments(stores, site, run, registry, job, inputs)
        outcome = await _execute_job(site, run, registry.get_address(job), arguments)
        comparisons = await _compare_outcome(stores, run, outcome, tolerance)
        return Reproduction(run, version, inputs, outcome, comparisons)


@asynccontextmanager
async def _open_stores(site: Site, data: Path) -> AsyncIterator[_ReproductionStores]:
    async with AsyncExitStack() as exit_stack:
        ledger = await exit_stack.enter_async_context(SqlLedger(resolve_ledger_url(site, data)))
        histories = [await open_telemetry_reader(site, data / "history", wall_clock, exit_stack)]
        if get_archive_settings(site) is not None and (data / "history").is_dir():
            histories.append(
                await exit_stack.enter_async_context(EmbeddedHistory(data / "history"))
            )
        objects = LazyObjects(lambda: open_artifact_reader(site, data))

        def get_shard_kind(rule: str) -> str:
            spec = site.rules[rule].job if rule in site.rules else None
            return spec.each if spec else ""

        yield _ReproductionStores(
            ledger,
            objects,
            InputReplayer(histories, ledger, objects, ExpressionCompiler(), get_shard_kind),
        )


async def _get_finished_run(ledger: SqlLedger, run_id: str) -> Run:
    runs = await ledger.list_runs(Query(id=run_id, limit=1)) if run_id else ()
    if not runs:
        raise NotFound(f"no run {run_id!r} is known", "`catcher runs` lists the latest")
    run = runs[0]
    if run.state not in ("done", "failed", "timeout"):
        raise CatcherError(
            f"the run {run_id} is {run.state}: it made nothing", "choose one that is done"
        )
    return run


def _load_registry(site: Site, data: Path, run: Run, use_current: bool) -> tuple[Registry, str]:
    """Loads the jobs as they ran, or as they are now; also returns a description of the version."""
    if use_current:
        is_same = (
            run.job in site.registry and site.registry.get_address(run.job).digest == run.job_digest
        )
        return site.registry, "as it is now" + (", which is as it ran" if is_same else "")
    job_copy = data / "jobs" / run.job_digest
    if run.job_digest and job_copy.is_dir():
        registry, _ = Registry.load(job_copy / "jobs")
        digests = {registry.get_address(name).digest for name in registry.list_job_names()}
        if digests == {run.job_digest}:
            return registry, f"as it ran ({run.job_digest})"
        raise CatcherError(
            f"the copy of the job in {job_copy} was changed",
            "see --present for the job as it is now",
        )
    for name in site.registry.list_job_names():
        if site.registry.get_address(name).digest == run.job_digest:
            return site.registry, f"as it ran ({run.job_digest})"
    raise CatcherError(
        f"the version of {run.job!r} that ran ({run.job_digest or 'not recorded'}) is gone",
        "--present takes the job as it is now",
    )


def _find_job_spec(site: Site, run: Run) -> JobSpec | None:
    return site.rules[run.rule].job if run.rule in site.rules else None


def _select_job_name(run: Run, site: Site, registry: Registry) -> str:
    """Returns the function that made the run: for a parent run the one that gathered the parts."""
    spec = _find_job_spec(site, run)
    is_parent = spec is not None and bool(spec.each) and not run.parent
    if is_parent and spec and spec.gather is None:
        raise CatcherError(
            f"the run {run.id} is only the sum of its parts", "name one of them: RUN.PART"
        )
    job_name = spec.gather.run if is_parent and spec and spec.gather else run.job
    if job_name not in registry:
        raise CatcherError(f"that version has no job {job_name!r}", "see --present")
    return job_name


async def _bind_arguments(
    stores: _ReproductionStores,
    site: Site,
    run: Run,
    registry: Registry,
    job: str,
    inputs: Sequence[ReplayedInput],
) -> dict[str, Any]:
    values = {replayed.record.name: replayed.value for replayed in inputs}
    available: dict[str, Any] = {
        "event": run.firing.event, "observation": await _find_observation(stores, site, run),
    }  # fmt: skip
    spec = _find_job_spec(site, run)
    if run.parent:
        available[spec.each if spec and spec.each else DETECTOR] = run.part
    elif job != run.job:
        parts = await _list_part_runs(stores, run)
        names = sorted(part.part for part in parts)
        available |= {
            "parts": collect_results_by_part(parts),
            "missing": find_missing_parts(names, parts),
        }
    return bind_arguments(registry.get_signature(job), values, available)


async def _find_observation(
    stores: _ReproductionStores, site: Site, run: Run
) -> Observation | None:
    for kind in site.settings.observations if run.observation else ():
        observation = await stores.ledger.find_observation(kind, run.observation)
        if observation is not None:
            return observation
    return None


async def _list_part_runs(stores: _ReproductionStores, run: Run) -> list[Run]:
    time = run.firing.time
    query = Query(rule=run.rule, start=time, end=time, limit=100_000)
    return [
        part_run for part_run in await stores.ledger.list_runs(query) if part_run.parent == run.id
    ]


async def _execute_job(
    site: Site, run: Run, job: JobAddress, arguments: Mapping[str, Any]
) -> JobOutcome:
    spec = _find_job_spec(site, run)
    timeout = max(spec.timeout, HOUR) if spec else HOUR
    async with create_local_executor(site, wall_clock) as executor:
        return await executor.run(
            JobCall(run.id, job, arguments, timeout, spec.memory if spec else None)
        )


async def _compare_outcome(
    stores: _ReproductionStores, run: Run, outcome: JobOutcome, tolerance: float
) -> list[Comparison]:
    if run.state != "done" or outcome.state != "done":
        is_same = (run.state, run.error) == (outcome.state, outcome.error)
        recorded, reproduced = (
            f"{run.state} {run.error}".strip(),
            f"{outcome.state} {outcome.error}".strip(),
        )
        message = "" if is_same else f"{recorded} then, {reproduced} now"
        return [Comparison("end", run.state, is_same, message)]
    output = outcome.output or JobOutput()
    return [
        *compare_metrics(run, output, tolerance),
        *compare_fields(run, output, tolerance),
        *await compare_artifacts(run, output, stores.objects.get, decode_artifact, tolerance),
    ]
