"""How the parts of an engine are put together, the same for a night and for a rehearsal."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catcher.alerting import Alerting, Courier, Rate, Renderer, RouteTree
from catcher.app.editions import read_templates
from catcher.app.executing import Executors
from catcher.app.imaging import make_images
from catcher.app.kept import Kept
from catcher.app.sink_kinds import Doorway, SinkNeeds, make_sinks
from catcher.engine import Engine
from catcher.model.alert import Alert, Notice
from catcher.model.event import RESULT_PREFIX
from catcher.model.message import Compose, Fill
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Clock, Span
from catcher.ports import (
    Fenced,
    Query,
    Sink,
    Source,
)
from catcher.site import Site
from catcher.steps import UNWATCHED, Parts, Vitals
from catcher.stores.ledger import SqlLedger
from catcher.streams import Streams
from catcher.vitals import Part
from catcher.watching import Admission, Compiler, Network, SourceClock
from catcher.working import Observations, Workshop
from catcher.working.keeping import own_key

REMEMBERED_ALERTS = 5000
RECORDED = SourceClock(clock="stream", lateness=0)
"""How the time of a recorded or simulated stream is to be understood."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts that belong together for one site, rules and clock."""

    site: Site
    rules: Mapping[str, Rule]
    clock: Clock
    kept: Kept
    streams: Streams
    admission: Admission
    network: Network
    alerting: Alerting
    observations: Observations
    renderer: Renderer

    def engine(
        self,
        name: str,
        sources: Sequence[Source],
        hand_out: Callable[[Run], None],
        send: Callable[[Sequence[Notice]], None],
        drain: Callable[[], Coroutine[Any, Any, object]],
        vitals: Vitals = UNWATCHED,
    ) -> Engine:
        """The engine over these parts."""
        parts = Parts(
            name=name, rules=self.rules, sources=sources, admission=self.admission,
            network=self.network, alerting=self.alerting, send=send, hand_out=hand_out,
            drain=drain,
            ledger=self.kept.ledger, history=self.kept.history,
            remembered=remembered_topics(self.rules, self.network),
            observations=self.observations, streams=self.streams, clock=self.clock,
            vitals=vitals, elsewhere=self.site.elsewhere,
        )  # fmt: skip
        return Engine(parts)

    def workshop(
        self, executors: Executors, engine: str, data: Path,
        report: Callable[[Run], Awaitable[None]],
        pause: Callable[[float], Awaitable[None]], patience: Span | None = None,
    ) -> Workshop:  # fmt: skip
        """The workshop that carries out the runs of these rules."""
        settings = self.site.settings
        files = settings.stores.large_files
        return Workshop(
            rules=self.rules, registry=self.site.registry,
            executor=executors.chosen, here=executors.here,
            ledger=self.kept.ledger, history=self.kept.history,
            images=make_images(self.site, data), objects=self.kept.objects,
            expressions=Compiler(), engine=engine, clock=self.clock, report=report,
            observations=self.observations, pause=pause, patience=patience,
            keys=own_key if files is None else files.key,
        )  # fmt: skip

    async def sinks(
        self, lifetimes: AsyncExitStack, write: Callable[[str], None], doorway: Doorway
    ) -> dict[str, Sink]:
        """The sinks that the site names; through the doorway people reach the engine by them."""

        def needs(name: str, compose: Compose, fill: Fill) -> SinkNeeds:
            return SinkNeeds(
                name=name, compose=compose, fill=fill, active=self.alerting.active,
                objects=self.kept.objects, clock=self.clock, lifetimes=lifetimes, write=write,
                redact=self.site.redact, doorway=doorway,
            )  # fmt: skip

        return await make_sinks(self.site, self.renderer, needs)

    def courier(self, sinks: Mapping[str, Sink]) -> Courier:
        """The courier to these sinks."""
        return Courier(
            sinks, self.kept.ledger, self.clock, self.streams.notices.on_next,
            self.alerting.undelivered,
            self.alerting.missed,
            rates=rates(self.site.routes),
        )  # fmt: skip


async def assemble(
    site: Site,
    rules: Mapping[str, Rule],
    kept: Kept,
    clock: Clock,
    clocks: Mapping[str, SourceClock],
) -> Assembly:
    """The pure parts over opened stores, with the alerts that the ledger knows."""
    renderer = Renderer(read_templates(site))
    alerts, episodes = await _known_alerts(kept.ledger, site.elsewhere)
    bundles = await kept.ledger.bundles(Query(state="active", limit=sys.maxsize))
    if site.elsewhere:
        # Messages about many alerts belong to the engine that has the alerts.
        mine = {id for alert in alerts for id in alert.bundles.values()}
        bundles = [one for one in bundles if one.id in mine]
    alerting = Alerting(
        rules, site.routes, renderer, site_links(site), alerts,
        [broken.id for broken in site.broken if broken.id], episodes,
        await kept.ledger.silences(Query(state="active", limit=sys.maxsize)),
        next(iter(await kept.ledger.shifts(Query(limit=1))), None),
        bundles,
    )  # fmt: skip
    return Assembly(
        site=site, rules=rules, clock=clock, kept=kept, streams=Streams(),
        admission=Admission(clocks), network=Network(list(rules.values())), alerting=alerting,
        observations=Observations(site.settings.observations, kept.ledger), renderer=renderer,
    )  # fmt: skip


async def _known_alerts(ledger: SqlLedger, elsewhere: Collection[str]) -> tuple[list[Alert], int]:
    """All open alerts and the latest others, oldest first; how far episodes of the rest count."""
    still_open = await ledger.alerts(Query(state="open", limit=sys.maxsize))
    past = await ledger.alerts(Query(state="resolved", limit=REMEMBERED_ALERTS))
    whole = len(past) < REMEMBERED_ALERTS
    mine = (one for one in (*past, *still_open) if one.rule not in elsewhere)
    alerts = sorted(mine, key=lambda alert: (alert.opened, alert.episode))
    return alerts, 0 if whole else await ledger.episodes()


def rates(routes: RouteTree) -> dict[str, Rate]:
    """How much each sink takes, where there is a bound."""
    return {name: one.rate for name, one in routes.sinks.items() if one.rate}


def site_links(site: Site) -> Callable[[Alert], Mapping[str, str]]:
    """The site's links for an alert; one with `{id}` only where it is about one observation.

    `{id}` is that observation (`per`), `{alert}` the alert's id, `{rule}` and `{key}` its own.
    """

    def links(alert: Alert) -> Mapping[str, str]:
        names = {"id": alert.per, "alert": alert.id, "rule": alert.rule, "key": alert.key}
        return {
            name: _filled(url, names)
            for name, url in site.settings.links.items()
            if alert.per or "{id}" not in url
        }

    return links


def _filled(url: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        url = url.replace(f"{{{name}}}", quote(value[:200], safe=""))
    return url


def remembered_topics(rules: Mapping[str, Rule], network: Network) -> frozenset[str]:
    """The topics whose events go into the history: those that rules watch, and jobs' inputs."""
    inputs = {one.topic for rule in rules.values() if rule.job for one in rule.job.inputs.values()}
    wanted = network.topics | inputs
    return frozenset(topic for topic in wanted if topic and not topic.startswith(RESULT_PREFIX))


def parts(
    assembly: Assembly, sources: Sequence[Source], executors: Executors, courier: Courier
) -> list[Part]:
    """Whatever has a health, with the role that it plays: sources first."""
    found = []
    for source in sources:
        health = source.health()
        counts = {**health.counts, **assembly.admission.counts(source.name)}
        found.append(Part("source", replace(health, counts=counts)))
    return [
        *found,
        *(Part("store", health) for health in assembly.kept.health()),
        *(Part("executor", one.health()) for one in executors.all),
        *(Part("sink", health) for health in courier.health()),
        Part("desk", assembly.alerting.health(assembly.clock())),
    ]


@contextmanager
def alone() -> Iterator[None]:
    """What is meant for a reader comes out of the task groups as the one error that it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        told: BaseException = group
        while isinstance(told, BaseExceptionGroup) and len(told.exceptions) == 1:
            told = told.exceptions[0]
        fenced = group.subgroup(Fenced)
        if fenced is not None:
            # Whatever else went wrong did so because nothing may be written any more.
            raise _first(fenced) from None
        if isinstance(told, CatcherError):
            raise told from None
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
