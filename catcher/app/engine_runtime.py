"""Opens an engine with everything around it, in order: stores, workers, sinks and the API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from catcher.alerting import NotificationDispatcher, TemplateRenderer
from catcher.api import create_api, serve_api
from catcher.app.adapter_registry import SETTINGS_CLASSES as ADAPTERS
from catcher.app.adapter_registry import SourceContext, create_sources
from catcher.app.background_tasks import run_housekeeping
from catcher.app.client_backend import create_lazy_sql_backend, decode_artifact
from catcher.app.composition import (
    RECORDED_CLOCK,
    EngineBuilder,
    collect_sink_rate_limits,
    create_engine_builder,
    list_components,
    unwrap_exception_groups,
)
from catcher.app.engine_handle import (
    DEFAULT_STOP_TIMEOUT,
    EngineHandle,
    ShutdownDeadline,
    build_engine_name,
    publish_engine_url,
)
from catcher.app.executors import Executors, open_executors
from catcher.app.heartbeat import create_heartbeat_targets
from catcher.app.hot_reload import HotReloader
from catcher.app.monitoring import EngineMonitor
from catcher.app.paths import ensure_folder, resolve_ledger_url
from catcher.app.result_publishers import ResultPublishers, open_result_publishers
from catcher.app.sink_registry import CallbackRegistry
from catcher.app.site_version import SETTINGS_FILE, SiteVersion, build_first_version
from catcher.app.status import EngineStatus
from catcher.app.stores import Stores, open_stores
from catcher.app.telemetry import get_max_input_wait
from catcher.client import Backend, Client, HistoryTelemetry
from catcher.engine.commands import EngineCommands
from catcher.engine.engine import Engine
from catcher.evaluation import SourceClock
from catcher.jobs import RunScheduler
from catcher.model.errors import CatcherError
from catcher.model.event import HEALTH_TOPIC
from catcher.model.time import wall_clock
from catcher.monitoring import Component, HealthSource
from catcher.monitoring.health_source import SOURCE_NAME as HEALTH_SOURCE_NAME
from catcher.ports import Sink, Source, StoreUnavailable
from catcher.site import Secret, Site, load_site_folder
from catcher.sources.http import HttpSource, HttpSourceSettings

HTTP_NAME, DEFAULT_PAYLOAD_LIMIT = "http", 1_000_000
OWN_CLOCKS = {HEALTH_SOURCE_NAME: SourceClock(lateness=0)}
"""The clock settings of Catcher's own health events."""
EngineContext = AbstractAsyncContextManager[EngineHandle]
WriteLine = Callable[[str], None]
Positions = Mapping[str, str]
SourcesFactory = Callable[[Site, Path, Positions], Sequence[Source]]


def open_engine_on_sources(
    site: Site, data: Path, port: int | None, write: WriteLine
) -> EngineContext:
    """Opens an engine on a site's own sources.
    It follows the site's files and continues at the stored positions. Raises CatcherError if
    `catcher.yaml` is broken: defaults in place of what it says (another ledger, no sources) would
    be worse than no start.
    """
    _check_settings_file(site)

    def build_sources(site: Site, folder: Path, positions: Positions) -> Sequence[Source]:
        return create_sources(
            site, lambda name: _build_source_context(site, name, folder, positions)
        )

    return _open_engine(site, data, port, build_sources, write=write, follow_site=True)


def open_engine_on_simulator(
    site: Site, data: Path | None, port: int | None, speed: float, write: WriteLine
) -> EngineContext:
    """Opens an engine on a simulated night, in a temporary folder unless `data` names another."""
    from catcher.simulation.source import SimulatorSettings, SimulatorSource

    folder = data or Path(tempfile.mkdtemp(prefix="catcher-demo-"))
    settings = SimulatorSettings(speed=speed) if speed else SimulatorSettings()

    def build_sources(site: Site, folder: Path, positions: Positions) -> Sequence[Source]:
        position = positions.get("simulator", "")
        return [SimulatorSource("simulator", settings, wall_clock, folder, position)]

    return _open_engine(
        site, folder, port, build_sources, {"simulator": RECORDED_CLOCK}, write=write
    )


def open_engine_on_recording(
    site: Site, data: Path, files: Sequence[Path], speed: str, port: int | None, write: WriteLine
) -> EngineContext:
    """Opens an engine on recorded streams instead of the site's sources, from their start.
    It ends with them.
    """
    from catcher.recordings.source import ReplaySettings, ReplaySource

    settings = ReplaySettings(files=tuple(str(path) for path in files), speed=speed)

    def build_sources(site: Site, folder: Path, positions: Positions) -> Sequence[Source]:
        return [ReplaySource("replay", settings, wall_clock, Path.cwd())]

    return _open_engine(site, data, port, build_sources, {"replay": RECORDED_CLOCK}, False, write)


def _build_source_context(site: Site, name: str, data: Path, positions: Positions) -> SourceContext:
    extra = positions.get(name, ""), site.settings.engine
    return SourceContext(name, wall_clock, _get_payload_limit(site), site.root, data, *extra)


def _check_settings_file(site: Site) -> None:
    problems = [problem for problem in site.errors if problem.location.file == SETTINGS_FILE]
    if problems:
        details = "\n".join(f"  {problem}" for problem in problems)
        raise CatcherError(
            f"{SETTINGS_FILE} cannot be used:\n{details}", "`catcher check` says when all is mended"
        )


def _load_first_version(site: Site, jobs_folder: Path, reread: bool) -> SiteVersion:
    """Builds the version an engine starts with; with `reread` loads the site again before."""
    if reread:
        site = load_site_folder(site.root, adapters=ADAPTERS, rule_subset=site.settings.engine)
        _check_settings_file(site)
    return build_first_version(site, jobs_folder)


def _get_payload_limit(site: Site) -> int:
    return site.settings.limits.payload or DEFAULT_PAYLOAD_LIMIT


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Where an engine's runs, results and notifications go."""

    executors: Executors
    publishers: ResultPublishers
    callback_registry: CallbackRegistry
    sinks: Mapping[str, Sink]
    dispatcher: NotificationDispatcher


async def _open_outputs(
    exit_stack: AsyncExitStack, site: Site, name: str, builder: EngineBuilder, write: WriteLine
) -> _Outputs:
    executors = await open_executors(exit_stack, site, wall_clock)
    publishers = await open_result_publishers(site, name, builder.event_bus, wall_clock, exit_stack)
    callback_registry = CallbackRegistry()
    sinks = await builder.create_sinks(exit_stack, write, callback_registry)
    dispatcher = await exit_stack.enter_async_context(builder.build_dispatcher(sinks))
    return _Outputs(executors, publishers, callback_registry, sinks, dispatcher)


def _get_job_copies_folder(data: Path) -> Path:
    """Returns the folder for copies of jobs' code, which keep runs reproducible after edits."""
    return data / "jobs"


async def _open_stores_and_version(
    exit_stack: AsyncExitStack,
    site: Site,
    data: Path,
    name: str,
    monitor: EngineMonitor,
    follow_site: bool,
) -> tuple[Stores, SiteVersion]:
    """Opens the stores and loads the rules; a standby loads its site again once it takes over."""
    on_standby = _create_standby_callback(monitor)
    ensure_folder(data)
    stores = await open_stores(exit_stack, site, data, name, wall_clock, on_standby)
    may_reload = follow_site and monitor.liveness.phase == "standing by"
    return stores, await asyncio.to_thread(
        _load_first_version, site, _get_job_copies_folder(data), may_reload
    )


def _build_handle(
    engine: Engine,
    builder: EngineBuilder,
    engine_status: EngineStatus,
    site: Site,
    data: Path,
    deadline: ShutdownDeadline,
    monitor: EngineMonitor,
) -> EngineHandle:
    health = engine_status.create_health_lister(monitor.count_waiting_runs)
    return EngineHandle(
        engine, builder.event_bus, health, site.errors, data,
        misconfigured=site.config_errors, deadline=deadline, monitor=monitor,
    )  # fmt: skip


def _build_commands(
    handle: EngineHandle,
    http_source: HttpSource,
    site: Site,
    version: SiteVersion,
    dispatcher: NotificationDispatcher,
) -> EngineCommands:
    return EngineCommands(
        handle.engine, http_source, site.settings.observations, version.list_broken_rules(),
        handle.health, dispatcher.requeue_notifications,
    )  # fmt: skip


@asynccontextmanager
async def _open_engine(
    site: Site, data: Path, port: int | None, sources_factory: SourcesFactory,
    clocks: Mapping[str, SourceClock] | None = None, accept_posts: bool = True,
    write: WriteLine = print, follow_site: bool = False,
) -> AsyncIterator[EngineHandle]:  # fmt: skip
    """Opens stores, workers, sinks and the API around an engine, and starts it."""
    name = build_engine_name(wall_clock)
    async with AsyncExitStack() as exit_stack:
        exit_stack.enter_context(unwrap_exception_groups())
        monitor = EngineMonitor(site.settings.site, name, wall_clock, os.environ)
        await exit_stack.enter_async_context(monitor.run_systemd_notifier())
        opened = _open_stores_and_version(exit_stack, site, data, name, monitor, follow_site)
        stores, version = await opened
        site = replace(version.site, registry=version.registry)
        monitor.set_restoring()
        sources = list(sources_factory(site, data, await stores.ledger.get_source_positions()))
        http_source = _ensure_http_source(stores, site, sources, accept_posts)
        source_clocks = _collect_source_clocks(site, clocks or {})
        builder = await create_engine_builder(
            site, version.rules, stores, wall_clock, source_clocks
        )
        outputs = await _open_outputs(exit_stack, site, name, builder, write)
        dispatcher, executors, sinks = outputs.dispatcher, outputs.executors, outputs.sinks

        def collect_components() -> list[Component]:
            opened = list_components(builder, sources, executors, dispatcher)
            published = outputs.publishers.list_components()
            return [*opened, *published, *monitor.list_heartbeat_components()]

        deadline = _create_shutdown_deadline(site)
        scheduler = builder.build_scheduler(
            executors, name, data, lambda run: engine.enqueue_finished_run(run),  # noqa: PLW0108
            asyncio.sleep, get_max_input_wait(site),
        )  # fmt: skip
        health_sources = [_create_health_source(collect_components, lambda: engine)]
        all_sources = [*sources, *(health_sources if accept_posts else ())]
        engine = builder.build_engine(
            name, all_sources, scheduler.submit, dispatcher.enqueue_notifications,
            partial(_drain_jobs, scheduler, deadline), monitor.liveness,
        )  # fmt: skip
        await exit_stack.enter_async_context(scheduler)
        exit_stack.push_async_callback(_drain_dispatcher, dispatcher, stores, deadline)
        engine_status = EngineStatus(
            engine, builder.alert_service, collect_components, scheduler.iter_queue_counts,
            dispatcher.get_oldest_pending_times,
        )  # fmt: skip
        await monitor.attach_engine(exit_stack, engine_status)
        handle = _build_handle(engine, builder, engine_status, site, data, deadline, monitor)
        commands = _build_commands(handle, http_source, site, version, dispatcher)
        outputs.callback_registry.get_api = commands.with_channel
        client = Client(_create_backend_factory(stores, resolve_ledger_url(site, data)))
        on_version = _create_version_callback(dispatcher, builder.renderer)
        jobs = _get_job_copies_folder(data)
        reloader = _create_reloader(version, jobs, engine, scheduler, commands, monitor, on_version)
        callbacks = outputs.callback_registry
        api_context = _serve_engine_api(handle, commands, client, site, port, callbacks)
        async with _run_engine(handle, api_context, reloader if follow_site else None, stores):
            targets = await create_heartbeat_targets(site, name, sinks, wall_clock, exit_stack)
            await monitor.start_monitoring(exit_stack, site.settings.heartbeat.every, targets)
            yield handle


@asynccontextmanager
async def _run_engine(
    handle: EngineHandle,
    api_context: AbstractAsyncContextManager[None],
    reloader: HotReloader | None,
    stores: Stores,
) -> AsyncIterator[None]:
    """Runs the engine, serves its API and follows its site until the context is left.
    Ends at once if another engine has taken over the ledger.
    """
    async with asyncio.TaskGroup() as tasks:
        fence_task = tasks.create_task(stores.ledger.wait_until_fenced())
        handle.start(tasks, fence_task.cancel)
        tasks.create_task(run_housekeeping(stores, handle))
        await handle.wait_until_sources_open()
        async with api_context:
            await _publish_url_in_ledger(stores, handle.url)
            if reloader is None:
                yield
            else:
                handle.request_reload = reloader.request_reload
                async with reloader.watch_and_reload():
                    yield
        handle.stop()


def _create_shutdown_deadline(site: Site) -> ShutdownDeadline:
    stop_timeout = site.settings.limits.stop
    return ShutdownDeadline(DEFAULT_STOP_TIMEOUT if stop_timeout is None else stop_timeout)


async def _drain_dispatcher(
    dispatcher: NotificationDispatcher, stores: Stores, deadline: ShutdownDeadline
) -> None:
    """Waits for pending notifications until the deadline; another engine delivers the rest."""
    await dispatcher.drain_for_shutdown(0 if stores.ledger.is_fenced else deadline.remaining)


def _create_backend_factory(
    stores: Stores, ledger_url: str
) -> Callable[[], AbstractAsyncContextManager[Backend]]:
    telemetry = HistoryTelemetry(stores.history)
    backend = Backend(
        stores.ledger,
        telemetry,
        stores.objects,
        create_lazy_sql_backend(ledger_url),
        decode_artifact,
    )
    return lambda: contextlib.nullcontext(backend)


async def _publish_url_in_ledger(stores: Stores, url: str) -> None:
    with contextlib.suppress(StoreUnavailable):
        await stores.ledger.publish_address(url)


def _create_standby_callback(monitor: EngineMonitor) -> Callable[[str], None]:
    """Builds the callback that reports, on stderr and to systemd, that this engine is standby."""

    def on_standby(message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        monitor.set_standby(message)

    return on_standby


@asynccontextmanager
async def _serve_engine_api(
    handle: EngineHandle, commands: EngineCommands, client: Client, site: Site, port: int | None,
    callback_registry: CallbackRegistry,
) -> AsyncIterator[None]:  # fmt: skip
    """Serves the API, and publishes its URL for commands."""
    api_settings = site.settings.api
    token = api_settings.token.reveal() if api_settings.token else ""
    routes = create_api(
        commands,
        client,
        handle.event_bus,
        token=token,
        monitoring=handle.monitor,
        callbacks=callback_registry.callbacks,
        posters=_reveal_tokens(api_settings.post_tokens),
        readers=_reveal_tokens(api_settings.read_tokens),
    )
    async with serve_api(
        routes, api_settings.host, api_settings.port if port is None else port
    ) as handle.url:
        with publish_engine_url(handle.data, handle.url):
            yield


def _reveal_tokens(tokens: Mapping[str, Secret]) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in tokens.items()}


def _collect_source_clocks(
    site: Site, extra_clocks: Mapping[str, SourceClock]
) -> dict[str, SourceClock]:
    site_clocks = {name: spec.clock for name, spec in site.settings.sources.items()}
    return {**site_clocks, **extra_clocks, **OWN_CLOCKS}


async def _drain_jobs(scheduler: RunScheduler, deadline: ShutdownDeadline) -> int:
    return await scheduler.drain_and_cancel(deadline.remaining_for_jobs)


def _create_health_source(
    get_components: Callable[[], list[Component]], get_engine: Callable[[], Engine]
) -> HealthSource:
    """Builds the source of components' health events, for rules that use them."""
    return HealthSource(
        get_components, lambda: HEALTH_TOPIC in get_engine().components.evaluator.topics, wall_clock
    )


def _ensure_http_source(
    stores: Stores, site: Site, sources: list[Source], accept_posts: bool
) -> HttpSource:
    """Ensures that a source receives posts, and gives the history all sources' health."""
    http_source = _find_or_create_http_source(site, sources)
    sources += [http_source] if accept_posts and http_source not in sources else []
    stores.telemetry.set_source_health_lister(lambda: [source.health() for source in sources])
    return http_source


def _find_or_create_http_source(site: Site, sources: Sequence[Source]) -> HttpSource:
    """Returns the site's own HTTP source, or a new one under a name that no source has."""
    for source in sources:
        if isinstance(source, HttpSource):
            return source
    name, names = HTTP_NAME, {source.name for source in sources}
    while name in names:
        name += "-posts"
    return HttpSource(name, HttpSourceSettings(), wall_clock, _get_payload_limit(site))


def _create_version_callback(
    dispatcher: NotificationDispatcher, renderer: TemplateRenderer
) -> Callable[[SiteVersion], None]:
    """Builds the callback that updates sinks' rate limits and templates after an edit.
    The sinks themselves stay.
    """

    def update_limits_and_templates(version: SiteVersion) -> None:
        dispatcher.set_rate_limits(collect_sink_rate_limits(version.routes))
        renderer.replace_templates(version.templates)

    return update_limits_and_templates


def _create_reloader(
    version: SiteVersion,
    jobs_folder: Path,
    engine: Engine,
    scheduler: RunScheduler,
    commands: EngineCommands,
    monitor: EngineMonitor,
    on_new_version: Callable[[SiteVersion], None],
) -> HotReloader:
    root, subset = version.site.root, version.site.settings.engine
    return HotReloader(
        version,
        lambda: load_site_folder(root, adapters=ADAPTERS, rule_subset=subset),
        jobs_folder,
        engine,
        scheduler,
        commands,
        monitor.notify_reload_state,
        on_new_version,
    )
