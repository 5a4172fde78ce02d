"""Runs that are over, computed again: the same inputs, the same job version, compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catcher.app.executing import local_executor
from catcher.app.places import LateObjects, ledger_address, readable_objects
from catcher.app.telemetry import archive_settings, open_archive
from catcher.authoring.comparing import (
    Verdict,
    compared_artifacts,
    compared_fields,
    compared_metrics,
)
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError, Unknown
from catcher.model.result import Output
from catcher.model.rule import DETECTOR, JobSpec
from catcher.model.run import Call, JobAddress, Outcome, Run
from catcher.model.time import HOUR, wall_clock
from catcher.ports import Query
from catcher.site import Site
from catcher.stores.history import EmbeddedHistory
from catcher.stores.ledger import SqlLedger
from catcher.watching import Compiler
from catcher.working.arguments import bound
from catcher.working.forms import decode
from catcher.working.parts import absent, results
from catcher.working.refetching import Again, Refetcher
from catcher.working.registry import Registry

Row = dict[str, Any]
TOLERANCE = 1e-9
"""Relative: another machine's mathematics may differ in the last digits."""


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came of it. `outcome` is None where the inputs are not what they were."""

    run: Run
    version: str
    inputs: Sequence[Again]
    outcome: Outcome | None = None
    verdicts: Sequence[Verdict] = ()

    @property
    def same(self) -> bool:
        """Whether the run was reproduced in every part."""
        read = all(one.usable for one in self.inputs)
        return read and self.outcome is not None and all(one.same for one in self.verdicts)

    def as_json(self) -> Row:
        """The form of `catcher reproduce --json`."""
        return {
            "run": self.run.id, "rule": self.run.rule, "job": self.run.job,
            "version": self.version, "same": self.same,
            "inputs": [
                {"name": one.record.name, "address": one.record.address, "state": one.state,
                 "words": one.words}
                for one in self.inputs
            ],
            "results": [one.as_json() for one in self.verdicts],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Stores:
    ledger: SqlLedger
    objects: LateObjects
    refetcher: Refetcher


async def reproduce(
    site: Site, data: Path, identity: str, present: bool, tolerance: float
) -> Reproduced:
    """Computes a run again; with `present` by the job as it is now.

    CatcherError where there is no such run, it made nothing, or its job version is gone.
    """
    async with _stores(site, data) as stores:
        run = await _find(stores.ledger, identity)
        registry, version = await asyncio.to_thread(_registry, site, data, run, present)
        inputs = await stores.refetcher.all(run)
        if not all(one.usable for one in inputs):
            return Reproduced(run, version, inputs)
        job = _job_of(run, site, registry)
        arguments = await _arguments(stores, site, run, registry, job, inputs)
        outcome = await _carried_out(site, run, registry.address(job), arguments)
        verdicts = await _compared(stores, run, outcome, tolerance)
        return Reproduced(run, version, inputs, outcome, verdicts)


@asynccontextmanager
async def _stores(site: Site, data: Path) -> AsyncIterator[_Stores]:
    async with AsyncExitStack() as lifetimes:
        ledger = await lifetimes.enter_async_context(SqlLedger(ledger_address(site, data)))
        histories = [await open_archive(site, data / "history", wall_clock, lifetimes)]
        if archive_settings(site) is not None and (data / "history").is_dir():
            histories.append(await lifetimes.enter_async_context(EmbeddedHistory(data / "history")))
        objects = LateObjects(lambda: readable_objects(site, data))

        def parts_of(rule: str) -> str:
            spec = site.rules[rule].job if rule in site.rules else None
            return spec.each if spec else ""

        yield _Stores(ledger, objects, Refetcher(histories, ledger, objects, Compiler(), parts_of))


async def _find(ledger: SqlLedger, identity: str) -> Run:
    found = await ledger.runs(Query(id=identity, limit=1)) if identity else ()
    if not found:
        raise Unknown(f"no run {identity!r} is known", "`catcher runs` lists the latest")
    run = found[0]
    if run.state not in ("done", "failed", "timeout"):
        raise CatcherError(
            f"the run {identity} is {run.state}: it made nothing", "choose one that is done"
        )
    return run


def _registry(site: Site, data: Path, run: Run, present: bool) -> tuple[Registry, str]:
    """The jobs of the version that ran, or as they are now, and which that is."""
    if present:
        same = run.job in site.registry and site.registry.address(run.job).digest == run.job_digest
        return site.registry, "as it is now" + (", which is as it ran" if same else "")
    kept = data / "jobs" / run.job_digest
    if run.job_digest and kept.is_dir():
        registry, _ = Registry.load(kept / "jobs")
        digests = {registry.address(name).digest for name in registry.names()}
        if digests == {run.job_digest}:
            return registry, f"as it ran ({run.job_digest})"
        raise CatcherError(
            f"the copy of the job in {kept} was changed", "see --present for the job as it is now"
        )
    for name in site.registry.names():
        if site.registry.address(name).digest == run.job_digest:
            return site.registry, f"as it ran ({run.job_digest})"
    raise CatcherError(
        f"the version of {run.job!r} that ran ({run.job_digest or 'not recorded'}) is gone",
        "--present takes the job as it is now",
    )


def _spec(site: Site, run: Run) -> JobSpec | None:
    return site.rules[run.rule].job if run.rule in site.rules else None


def _job_of(run: Run, site: Site, registry: Registry) -> str:
    """The function that made the run: of a whole of parts the one that gathered them."""
    spec = _spec(site, run)
    whole = spec is not None and bool(spec.each) and not run.parent
    if whole and spec and spec.gather is None:
        raise CatcherError(
            f"the run {run.id} is only the sum of its parts", "name one of them: RUN.PART"
        )
    name = spec.gather.run if whole and spec and spec.gather else run.job
    if name not in registry:
        raise CatcherError(f"that version has no job {name!r}", "see --present")
    return name


async def _arguments(
    stores: _Stores, site: Site, run: Run, registry: Registry, job: str, inputs: Sequence[Again]
) -> dict[str, Any]:
    given = {one.record.name: one.value for one in inputs}
    offered: dict[str, Any] = {
        "event": run.firing.event, "observation": await _observation(stores, site, run),
    }  # fmt: skip
    spec = _spec(site, run)
    if run.parent:
        offered[spec.each if spec and spec.each else DETECTOR] = run.part
    elif job != run.job:
        parts = await _parts(stores, run)
        names = sorted(one.part for one in parts)
        offered |= {"parts": results(parts), "missing": absent(names, parts)}
    return bound(registry.signature(job), given, offered)


async def _observation(stores: _Stores, site: Site, run: Run) -> Observation | None:
    for kind in site.settings.observations if run.observation else ():
        found = await stores.ledger.observation(kind, run.observation)
        if found is not None:
            return found
    return None


async def _parts(stores: _Stores, run: Run) -> list[Run]:
    time = run.firing.time
    query = Query(rule=run.rule, start=time, end=time, limit=100_000)
    return [one for one in await stores.ledger.runs(query) if one.parent == run.id]


async def _carried_out(
    site: Site, run: Run, job: JobAddress, arguments: Mapping[str, Any]
) -> Outcome:
    spec = _spec(site, run)
    timeout = max(spec.timeout, HOUR) if spec else HOUR
    async with local_executor(site, wall_clock) as executor:
        return await executor.run(
            Call(run.id, job, arguments, timeout, spec.memory if spec else None)
        )


async def _compared(stores: _Stores, run: Run, outcome: Outcome, tolerance: float) -> list[Verdict]:
    if run.state != "done" or outcome.state != "done":
        same = (run.state, run.error) == (outcome.state, outcome.error)
        then, now = f"{run.state} {run.error}".strip(), f"{outcome.state} {outcome.error}".strip()
        words = "" if same else f"{then} then, {now} now"
        return [Verdict("end", run.state, same, words)]
    output = outcome.output or Output()
    return [
        *compared_metrics(run, output, tolerance),
        *compared_fields(run, output, tolerance),
        *await compared_artifacts(run, output, stores.objects.get, decode, tolerance),
    ]
