"""A job carried out here and now for an observation, without an engine; nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from catcher.app.executing import local_executor
from catcher.app.imaging import make_images
from catcher.app.places import ledger_address
from catcher.app.telemetry import open_archive
from catcher.hands import event_of
from catcher.model.event import Event
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError, Unknown
from catcher.model.result import Encoded
from catcher.model.rule import JobSpec, Rule, Trigger
from catcher.model.run import Firing, Run
from catcher.model.time import wall_clock
from catcher.site import Site
from catcher.stores.ledger import SqlLedger
from catcher.watching import Compiler
from catcher.working import Observations, Workshop


class Kept:
    """An object store (`ports.ObjectStore`) that holds what is made until it is asked for."""

    def __init__(self) -> None:
        self.items: dict[str, Encoded] = {}

    async def put(self, key: str, item: Encoded) -> None:
        """Takes an artifact."""
        self.items[key] = item

    async def get(self, key: str) -> bytes:
        """Its bytes."""
        return self.items[key].data

    async def list(self, prefix: str = "") -> Sequence[str]:
        """The keys that were taken."""
        return [key for key in self.items if key.startswith(prefix)]

    def url(self, key: str) -> str:
        """None has an address."""
        return ""


async def try_job(
    site: Site, data: Path, name: str, obs: str, rule: str, values: Mapping[str, Any]
) -> tuple[Run, Mapping[str, Encoded]]:
    """A job's run for an observation, with the inputs of the rule that uses it, and its artifacts.

    `values` go before what the rule gives by `with`. Nothing is kept or told.
    """
    chosen = _rule(site, name, rule, values)
    async with AsyncExitStack() as lifetimes:
        ledger = await lifetimes.enter_async_context(SqlLedger(ledger_address(site, data)))
        history = await open_archive(site, data / "history", wall_clock, lifetimes)
        found = await _observation(site, ledger, obs) if obs else None
        executor = await lifetimes.enter_async_context(local_executor(site, wall_clock))
        kept = Kept()
        settings = site.settings
        shop = Workshop(
            rules={chosen.id: chosen}, registry=site.registry, executor=executor, ledger=ledger,
            history=history, images=make_images(site, data), objects=kept,
            expressions=Compiler(), engine="by hand", clock=wall_clock, report=_unheard,
            observations=Observations(settings.observations, ledger),
        )  # fmt: skip
        await lifetimes.enter_async_context(shop)
        event = event_of(found, settings.observations) if found else None
        return await shop.perform(_run(chosen, name, event)), kept.items


async def _unheard(run: Run) -> None:
    return None


def _run(rule: Rule, job: str, event: Event | None) -> Run:
    now = wall_clock()
    time = event.time if event else now
    values = dict(event.fields) if event else {}
    firing = Firing(rule.id, "", time, "hand:job", "by hand", event, values, None, True, True)
    return Run(firing.id, firing, job, created=now)


def _rule(site: Site, name: str, rule: str, values: Mapping[str, Any]) -> Rule:
    """The rule whose inputs the job is given: the one that is named, or the only one there is."""
    if name not in site.registry:
        near = get_close_matches(name, site.registry.names(), 1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"it has {', '.join(site.registry.names())}"
        )
        raise Unknown(f"the site has no job {name!r}", hint)
    using = [one for one in site.rules.values() if one.job is not None and one.job.run == name]
    if rule:
        using = [one for one in using if one.id == rule]
        if not using:
            raise Unknown(f"no rule {rule!r} runs the job {name!r}", "see `catcher check`")
    if len(using) > 1:
        some = ", ".join(one.id for one in using)
        raise CatcherError(f"several rules run the job {name!r}: {some}", "choose one with --rule")
    if not using:
        spec = JobSpec(name, arguments=dict(values))
        return Rule(f"job-{name}", Trigger("event"), job=spec)
    spec = using[0].job or JobSpec(name)
    arguments = {**spec.arguments, **values}
    given = {one: asked for one, asked in spec.inputs.items() if one not in values}
    return replace(using[0], job=replace(spec, arguments=arguments, inputs=given, retry=0))


async def _observation(site: Site, ledger: SqlLedger, identity: str) -> Observation:
    for kind in site.settings.observations:
        found = await ledger.observation(kind, identity)
        if found is not None:
            return found
    kinds = ", ".join(site.settings.observations) or "nothing"
    raise Unknown(
        f"no observation {identity!r} is known",
        f"this site declares {kinds} under observations: in catcher.yaml; each is known from its "
        "event on",
    )
