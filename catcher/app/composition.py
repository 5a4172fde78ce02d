"""How the components of an engine are put together, the same for production and for tests."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catcher.alerting import (
    AlertService,
    NotificationDispatcher,
    RateLimit,
    RouteTree,
    TemplateRenderer,
)
from catcher.app.executors import Executors
from catcher.app.images import create_site_images
from catcher.app.sink_registry import CallbackRegistry, SinkContext, create_sinks
from catcher.app.site_version import read_templates
from catcher.app.stores import Stores
from catcher.engine.engine import Engine
from catcher.engine.event_bus import EventBus
from catcher.engine.unit_of_work import NULL_MONITOR, EngineComponents, LoopMonitor
from catcher.evaluation import Admission, RuleEvaluator, SourceClock
from catcher.expressions import ExpressionCompiler
from catcher.jobs import Observations, RunScheduler
from catcher.jobs.artifacts import build_artifact_key
from catcher.model.alert import Alert, Notification
from catcher.model.errors import CatcherError
from catcher.model.event import RESULT_PREFIX
from catcher.model.message import MessageComposer, TemplateFiller
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Clock, Span
from catcher.monitoring import Component
from catcher.ports import (
    Fenced,
    Query,
    Sink,
    Source,
)
from catcher.site import Site
from catcher.stores.ledger.ledger import SqlLedger

MAX_RESOLVED_ALERTS = 5000
RECORDED_CLOCK = SourceClock(clock="stream", lateness=0)
"""The clock settings of a recorded or simulated stream."""


@dataclass(frozen=True, slots=True)
class EngineBuilder:
    """The components that belong together for one site, rules and clock."""

    site: Site
    rules: Mapping[str, Rule]
    clock: Clock
    stores: Stores
    event_bus: EventBus
    admission: Admission
    evaluator: RuleEvaluator
    alert_service: AlertService
    observations: Observations
    renderer: TemplateRenderer

    def build_engine(
        self,
        name: str,
        sources: Sequence[Source],
        start_run: Callable[[Run], None],
        enqueue_notifications: Callable[[Sequence[Notification]], None],
        drain: Callable[[], Coroutine[Any, Any, object]],
        monitor: LoopMonitor = NULL_MONITOR,
    ) -> Engine:
        """Builds the engine over these components."""
        components = EngineComponents(
            name=name,
            rules=self.rules,
            sources=sources,
            admission=self.admission,
            evaluator=self.evaluator,
            alert_service=self.alert_service,
            send_notifications=enqueue_notifications,
            submit_run=start_run,
            drain_runs=drain,
            ledger=self.stores.ledger,
            history=self.stores.history,
            history_topics=collect_history_topics(self.rules, self.evaluator),
            observations=self.observations,
            event_bus=self.event_bus,
            clock=self.clock,
            monitor=monitor,
            remote_rules=self.site.excluded_rule_ids,
        )
        return Engine(components)

    def build_scheduler(
        self, executors: Executors, engine_name: str, data: Path,
        report: Callable[[Run], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]], max_wait: Span | None = None,
    ) -> RunScheduler:  # fmt: skip
        """Builds the run scheduler that executes the runs of these rules."""
        settings = self.site.settings
        large_files = settings.stores.large_files
        return RunScheduler(
            rules=self.rules,
            registry=self.site.registry,
            executor=executors.primary,
            local_executor=executors.local,
            ledger=self.stores.ledger,
            history=self.stores.history,
            images=create_site_images(self.site, data),
            objects=self.stores.objects,
            expressions=ExpressionCompiler(),
            engine=engine_name,
            clock=self.clock,
            report_run=report,
            observations=self.observations,
            sleep=sleep,
            max_wait=max_wait,
            build_key=build_artifact_key if large_files is None else large_files.build_object_key,
        )

    async def create_sinks(
        self,
        exit_stack: AsyncExitStack,
        write: Callable[[str], None],
        callback_registry: CallbackRegistry,
    ) -> dict[str, Sink]:
        """Creates the site's sinks; people reach the engine by them via `callback_registry`."""

        def build_sink_context(
            name: str, compose: MessageComposer, fill_template: TemplateFiller
        ) -> SinkContext:
            return SinkContext(
                name=name,
                compose=compose,
                fill_template=fill_template,
                list_active_alerts=self.alert_service.list_active,
                objects=self.stores.objects,
                clock=self.clock,
                exit_stack=exit_stack,
                write_line=write,
                redact=self.site.redact,
                callback_registry=callback_registry,
            )

        return await create_sinks(self.site, self.renderer, build_sink_context)

    def build_dispatcher(self, sinks: Mapping[str, Sink]) -> NotificationDispatcher:
        """Builds the notification dispatcher for these sinks."""
        return NotificationDispatcher(
            sinks, self.stores.ledger, self.clock, self.event_bus.notifications.on_next,
            self.alert_service.find_fallback,
            self.alert_service.queue_fallback,
            rate_limits=collect_sink_rate_limits(self.site.routes),
        )  # fmt: skip


async def create_engine_builder(
    site: Site,
    rules: Mapping[str, Rule],
    stores: Stores,
    clock: Clock,
    clocks: Mapping[str, SourceClock],
) -> EngineBuilder:
    """Builds the stateless components over opened stores, with the alerts that the ledger has."""
    renderer = TemplateRenderer(read_templates(site))
    alerts, last_episode = await _load_alerts_and_episode(stores.ledger, site.excluded_rule_ids)
    groups = await stores.ledger.list_groups(Query(state="active", limit=sys.maxsize))
    if site.excluded_rule_ids:
        # Notification groups belong to the engine that has their alerts.
        own_group_ids = {group_id for alert in alerts for group_id in alert.bundles.values()}
        groups = [group for group in groups if group.id in own_group_ids]
    alert_service = AlertService(
        rules, site.routes, renderer, build_link_factory(site), alerts,
        [broken.id for broken in site.broken_rules if broken.id], last_episode,
        await stores.ledger.list_silences(Query(state="active", limit=sys.maxsize)),
        next(iter(await stores.ledger.list_shifts(Query(limit=1))), None),
        groups,
    )  # fmt: skip
    return EngineBuilder(
        site=site,
        rules=rules,
        clock=clock,
        stores=stores,
        event_bus=EventBus(),
        admission=Admission(clocks),
        evaluator=RuleEvaluator(list(rules.values())),
        alert_service=alert_service,
        observations=Observations(site.settings.observations, stores.ledger),
        renderer=renderer,
    )


async def _load_alerts_and_episode(
    ledger: SqlLedger, elsewhere: Collection[str]
) -> tuple[list[Alert], int]:
    """Loads all open alerts and the latest resolved ones, oldest first.
    Also returns the last episode number of the alerts that were not loaded, or 0 if all were.
    """
    open_alerts = await ledger.list_alerts(Query(state="open", limit=sys.maxsize))
    resolved_alerts = await ledger.list_alerts(Query(state="resolved", limit=MAX_RESOLVED_ALERTS))
    is_complete = len(resolved_alerts) < MAX_RESOLVED_ALERTS
    own_alerts = (
        alert for alert in (*resolved_alerts, *open_alerts) if alert.rule not in elsewhere
    )
    alerts = sorted(own_alerts, key=lambda alert: (alert.opened, alert.episode))
    return alerts, 0 if is_complete else await ledger.get_max_episode_number()


def collect_sink_rate_limits(routes: RouteTree) -> dict[str, RateLimit]:
    """Returns the rate limit of each sink that has one."""
    return {
        name: sink_settings.rate_limit
        for name, sink_settings in routes.sinks.items()
        if sink_settings.rate_limit
    }


def build_link_factory(site: Site) -> Callable[[Alert], Mapping[str, str]]:
    """Builds a function that returns the site's links for an alert.
    A link with `{id}` is left out unless the alert is about one observation. `{id}` is that
    observation (`per`), `{alert}` the alert's id, `{rule}` and `{key}` its rule and key.
    """

    def build_links(alert: Alert) -> Mapping[str, str]:
        names = {"id": alert.per, "alert": alert.id, "rule": alert.rule, "key": alert.key}
        return {
            name: _fill_url_template(url, names)
            for name, url in site.settings.links.items()
            if alert.per or "{id}" not in url
        }

    return build_links


def _fill_url_template(url: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        url = url.replace(f"{{{name}}}", quote(value[:200], safe=""))
    return url


def collect_history_topics(rules: Mapping[str, Rule], evaluator: RuleEvaluator) -> frozenset[str]:
    """Returns the topics whose events go into the history: triggers' topics and jobs' inputs."""
    inputs = {
        job_input.topic
        for rule in rules.values()
        if rule.job
        for job_input in rule.job.inputs.values()
    }
    topics = evaluator.topics | inputs
    return frozenset(topic for topic in topics if topic and not topic.startswith(RESULT_PREFIX))


def list_components(
    builder: EngineBuilder,
    sources: Sequence[Source],
    executors: Executors,
    dispatcher: NotificationDispatcher,
) -> list[Component]:
    """Lists all components that report health, with their roles: sources first."""
    components = []
    for source in sources:
        health = source.health()
        counts = {**health.counts, **builder.admission.get_counts(source.name)}
        components.append(Component("source", replace(health, counts=counts)))
    return [
        *components,
        *(Component("store", health) for health in builder.stores.health()),
        *(Component("executor", executor.health()) for executor in executors.unique),
        *(Component("sink", health) for health in dispatcher.health()),
        Component("desk", builder.alert_service.health(builder.clock())),
    ]


@contextmanager
def unwrap_exception_groups() -> Iterator[None]:
    """Raises the single CatcherError inside exception groups instead of the groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        fenced = group.subgroup(Fenced)
        if fenced is not None:
            # Any other failure was a consequence: a fenced engine may write nothing.
            raise _get_first_leaf_exception(fenced) from None
        if isinstance(error, CatcherError):
            raise error from None
        raise


def _get_first_leaf_exception(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
