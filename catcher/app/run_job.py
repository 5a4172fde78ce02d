"""Runs a job at once for an observation, without an engine; stores nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from catcher.app.executors import create_local_executor
from catcher.app.images import create_site_images
from catcher.app.paths import resolve_ledger_url
from catcher.app.telemetry import open_telemetry_reader
from catcher.engine.commands import event_from_observation
from catcher.expressions import ExpressionCompiler
from catcher.jobs import Observations, RunScheduler
from catcher.model.errors import CatcherError, NotFound
from catcher.model.event import Event
from catcher.model.observation import Observation
from catcher.model.result import EncodedArtifact
from catcher.model.rule import JobSpec, Rule, TriggerSpec
from catcher.model.run import Firing, Run
from catcher.model.time import wall_clock
from catcher.site import Site
from catcher.stores.ledger.ledger import SqlLedger


class CapturedArtifacts:
    """An object store (`ports.ObjectStore`) that holds artifacts in memory."""

    def __init__(self) -> None:
        self.items: dict[str, EncodedArtifact] = {}

    async def put(self, key: str, item: EncodedArtifact) -> None:
        """Stores an artifact."""
        self.items[key] = item

    async def get(self, key: str) -> bytes:
        """Returns its bytes."""
        return self.items[key].data

    async def list(self, prefix: str = "") -> Sequence[str]:
        """Returns the stored keys."""
        return [key for key in self.items if key.startswith(prefix)]

    def build_url(self, key: str) -> str:
        """Returns an empty URL: objects in memory have none."""
        return ""


async def run_job_in_memory(
    site: Site, data: Path, name: str, observation_id: str, rule: str, values: Mapping[str, Any]
) -> tuple[Run, Mapping[str, EncodedArtifact]]:
    """Runs a job for an observation, with the inputs of the rule that uses it.
    Returns the run and its artifacts. `values` override what the rule gives by `with`. Nothing is
    stored or sent.
    """
    selected_rule = _select_rule_for_job(site, name, rule, values)
    async with AsyncExitStack() as exit_stack:
        ledger = await exit_stack.enter_async_context(SqlLedger(resolve_ledger_url(site, data)))
        history = await open_telemetry_reader(site, data / "history", wall_clock, exit_stack)
        observation = (
            await _get_observation(site, ledger, observation_id) if observation_id else None
        )
        executor = await exit_stack.enter_async_context(create_local_executor(site, wall_clock))
        captured = CapturedArtifacts()
        settings = site.settings
        scheduler = RunScheduler(
            rules={selected_rule.id: selected_rule},
            registry=site.registry,
            executor=executor,
            ledger=ledger,
            history=history,
            images=create_site_images(site, data),
            objects=captured,
            expressions=ExpressionCompiler(),
            engine="by hand",
            clock=wall_clock,
            report_run=_ignore_run,
            observations=Observations(settings.observations, ledger),
        )
        await exit_stack.enter_async_context(scheduler)
        event = event_from_observation(observation, settings.observations) if observation else None
        return await scheduler.execute_immediately(
            _build_manual_run(selected_rule, name, event)
        ), captured.items


async def _ignore_run(run: Run) -> None:
    return None


def _build_manual_run(rule: Rule, job: str, event: Event | None) -> Run:
    now = wall_clock()
    time = event.time if event else now
    values = dict(event.fields) if event else {}
    firing = Firing(rule.id, "", time, "hand:job", "by hand", event, values, None, True, True)
    return Run(firing.id, firing, job, created=now)


def _select_rule_for_job(site: Site, name: str, rule: str, values: Mapping[str, Any]) -> Rule:
    """Returns the rule whose inputs the job gets: the named one, or the only one there is."""
    if name not in site.registry:
        suggestions = get_close_matches(name, site.registry.list_job_names(), 1)
        hint = (
            f"did you mean {suggestions[0]!r}?"
            if suggestions
            else f"it has {', '.join(site.registry.list_job_names())}"
        )
        raise NotFound(f"the site has no job {name!r}", hint)
    candidates = [
        candidate
        for candidate in site.rules.values()
        if candidate.job is not None and candidate.job.run == name
    ]
    if rule:
        candidates = [candidate for candidate in candidates if candidate.id == rule]
        if not candidates:
            raise NotFound(f"no rule {rule!r} runs the job {name!r}", "see `catcher check`")
    if len(candidates) > 1:
        rule_ids = ", ".join(candidate.id for candidate in candidates)
        raise CatcherError(
            f"several rules run the job {name!r}: {rule_ids}", "choose one with --rule"
        )
    if not candidates:
        spec = JobSpec(name, arguments=dict(values))
        return Rule(f"job-{name}", TriggerSpec("event"), job=spec)
    spec = candidates[0].job or JobSpec(name)
    arguments = {**spec.arguments, **values}
    inputs = {
        input_name: input_spec
        for input_name, input_spec in spec.inputs.items()
        if input_name not in values
    }
    return replace(candidates[0], job=replace(spec, arguments=arguments, inputs=inputs, retry=0))


async def _get_observation(site: Site, ledger: SqlLedger, observation_id: str) -> Observation:
    for kind in site.settings.observations:
        observation = await ledger.find_observation(kind, observation_id)
        if observation is not None:
            return observation
    kinds = ", ".join(site.settings.observations) or "nothing"
    raise NotFound(
        f"no observation {observation_id!r} is known",
        f"this site declares {kinds} under observations: in catcher.yaml; each is known from its "
        "event on",
    )
