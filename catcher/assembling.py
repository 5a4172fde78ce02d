"""How the parts of an engine are put together, the same for a night and for a rehearsal."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from catcher.adapters import SinkNeeds, make_sinks
from catcher.alerting import Alerting, Courier, Renderer
from catcher.engine import Engine
from catcher.model.alert import Alert, Notice
from catcher.model.event import RESULT_PREFIX
from catcher.model.health import Health
from catcher.model.message import Compose
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Clock
from catcher.places import ledger_address, open_objects
from catcher.ports import MetricStore, ObjectStore, Query, Source
from catcher.site import Site
from catcher.steps import Parts
from catcher.stores.history import EmbeddedHistory
from catcher.stores.images import PathImages
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects, ObjectSettings
from catcher.streams import Streams
from catcher.watching import Admission, Compiler, Network, SourceClock
from catcher.working import Observations, Workshop

if TYPE_CHECKING:
    from catcher.executors.local import LocalExecutor

REMEMBERED_ALERTS = 5000
RECORDED = SourceClock(clock="stream", lateness=0)
"""How the time of a recorded or simulated stream is to be understood."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an engine keeps what it makes."""

    ledger: SqlLedger
    history: EmbeddedHistory
    objects: ObjectStore
    metrics: MetricStore | None


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
    ) -> Engine:
        """The engine over these parts."""
        parts = Parts(
            name=name, rules=self.rules, sources=sources, admission=self.admission,
            network=self.network, alerting=self.alerting, send=send, hand_out=hand_out,
            drain=drain,
            ledger=self.kept.ledger, history=self.kept.history, metrics=self.kept.metrics,
            remembered=remembered_topics(self.rules, self.network),
            observations=self.observations, streams=self.streams, clock=self.clock,
        )  # fmt: skip
        return Engine(parts)

    def workshop(
        self, executor: LocalExecutor, engine: str, data: Path,
        report: Callable[[Run], Awaitable[None]],
        pause: Callable[[float], Awaitable[None]],
    ) -> Workshop:  # fmt: skip
        """The workshop that carries out the runs of these rules."""
        settings = self.site.settings
        patterns = {kind: spec.image for kind, spec in settings.observations.items() if spec.image}
        return Workshop(
            rules=self.rules, registry=self.site.registry, executor=executor,
            ledger=self.kept.ledger, history=self.kept.history,
            images=PathImages(patterns, data), objects=self.kept.objects,
            expressions=Compiler(), engine=engine, clock=self.clock, report=report,
            observations=self.observations, pause=pause,
        )  # fmt: skip

    async def courier(self, lifetimes: AsyncExitStack, write: Callable[[str], None]) -> Courier:
        """The courier to the sinks that the site names."""

        def needs(name: str, compose: Compose) -> SinkNeeds:
            return SinkNeeds(
                name,
                compose,
                self.alerting.active,
                self.kept.objects,
                self.clock,
                lifetimes,
                write,
            )

        sinks = await make_sinks(self.site, self.renderer, needs)
        return Courier(
            sinks, self.kept.ledger, self.clock, self.streams.notices.on_next,
            self.alerting.undelivered,
        )  # fmt: skip


async def open_kept(
    lifetimes: AsyncExitStack, site: Site, data: Path | None, engine: str, clock: Clock
) -> Kept:
    """Opens the stores of a site; without a folder everything is in memory."""
    ledger = ledger_address(site, data) if data else "sqlite://"
    metrics = None
    if site.settings.stores.metrics.kind == "influxdb" and data:
        # Not every site has an InfluxDB, and its client is slow to import.
        from catcher.stores.metrics_influx import InfluxMetrics, InfluxMetricSettings

        settings = site.settings.stores.metrics.bind(InfluxMetricSettings)
        metrics = await lifetimes.enter_async_context(InfluxMetrics(settings, clock))
    return Kept(
        await lifetimes.enter_async_context(SqlLedger(ledger, engine, clock)),
        await lifetimes.enter_async_context(
            EmbeddedHistory(data / "history" if data else None, clock=clock)
        ),
        open_objects(site, data) if data else Objects(ObjectSettings(url="memory://")),
        metrics,
    )


async def assemble(
    site: Site,
    rules: Mapping[str, Rule],
    kept: Kept,
    clock: Clock,
    clocks: Mapping[str, SourceClock],
) -> Assembly:
    """The pure parts over opened stores, with the alerts that the ledger knows."""
    renderer = Renderer({name: path.read_text() for name, path in site.templates.items()})
    alerts, episodes = await _known_alerts(kept.ledger)
    alerting = Alerting(
        rules, site.routes, renderer, site_links(site), alerts,
        [broken.id for broken in site.broken if broken.id], episodes,
    )  # fmt: skip
    return Assembly(
        site=site, rules=rules, clock=clock, kept=kept, streams=Streams(),
        admission=Admission(clocks), network=Network(list(rules.values())), alerting=alerting,
        observations=Observations(site.settings.observations, kept.ledger), renderer=renderer,
    )  # fmt: skip


async def _known_alerts(ledger: SqlLedger) -> tuple[list[Alert], int]:
    """All open alerts and the latest others, oldest first; how far episodes of the rest count."""
    still_open = await ledger.alerts(Query(state="open", limit=sys.maxsize))
    past = await ledger.alerts(Query(state="resolved", limit=REMEMBERED_ALERTS))
    whole = len(past) < REMEMBERED_ALERTS
    alerts = sorted([*past, *still_open], key=lambda alert: (alert.opened, alert.episode))
    return alerts, 0 if whole else await ledger.episodes()


def make_executor(site: Site, clock: Clock) -> LocalExecutor:
    """Worker processes within the site's limits."""
    from catcher.executors.local import LocalExecutor
    from catcher.executors.local import Settings as LocalSettings

    limits, said = site.settings.limits, site.settings.executor.bind(LocalSettings)
    return LocalExecutor(limits.workers or said.workers, limits.memory or said.memory, clock)


def site_links(site: Site) -> Callable[[Alert], Mapping[str, str]]:
    """The site's links for an alert that is about one observation (`per`)."""

    def links(alert: Alert) -> Mapping[str, str]:
        if not alert.per:
            return {}
        named = quote(alert.per, safe="")
        return {name: url.replace("{id}", named) for name, url in site.settings.links.items()}

    return links


def remembered_topics(rules: Mapping[str, Rule], network: Network) -> frozenset[str]:
    """The topics whose events go into the history: those that rules watch, and jobs' inputs."""
    inputs = {one.topic for rule in rules.values() if rule.job for one in rule.job.inputs.values()}
    wanted = network.topics | inputs
    return frozenset(topic for topic in wanted if topic and not topic.startswith(RESULT_PREFIX))


def healths(
    assembly: Assembly, sources: Sequence[Source], executor: LocalExecutor, courier: Courier
) -> list[Health]:
    """How everything outside is doing, sources first."""
    found = []
    for source in sources:
        health = source.health()
        counts = {**health.counts, **assembly.admission.counts(source.name)}
        found.append(replace(health, counts=counts))
    stores = [assembly.kept.ledger.health(), assembly.kept.history.health()]
    if assembly.kept.metrics is not None:
        stores.append(assembly.kept.metrics.health())
    live = assembly.streams
    watchers = {"watching": live.watching, "lost": live.lost}
    board = Health("watchers", "live", "ok", counts=watchers)
    return [*found, *stores, executor.health(), *courier.health(), board]


@contextmanager
def alone() -> Iterator[None]:
    """What is meant for a reader comes out of the task groups as the one error that it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        told: BaseException = group
        while isinstance(told, BaseExceptionGroup) and len(told.exceptions) == 1:
            told = told.exceptions[0]
        if isinstance(told, CatcherError):
            raise told from None
        raise
