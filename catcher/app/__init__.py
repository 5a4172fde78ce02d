"""The composition root: opens and closes engines, virtual engines and clients in order.
Every command passes through here, and most need little, so each function imports what it opens.
Start with `engine_runtime.py` (how an engine is opened) and `composition.py` (what it is made of).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catcher.app.adapter_registry import SETTINGS_CLASSES
from catcher.app.paths import resolve_data_folder
from catcher.app.site import load_site, load_site_settings
from catcher.client import Client
from catcher.model.alert import Severity
from catcher.model.errors import CatcherError, EngineNotRunning
from catcher.model.result import EncodedArtifact
from catcher.model.rule import Rule
from catcher.model.rule_subset import RuleSubset
from catcher.model.run import Run
from catcher.model.telemetry import FieldInfo
from catcher.model.time import wall_clock
from catcher.site import Site, find_shipped_site, find_site, load_site_folder
from catcher.site.rule_subsets import create_rule_subset

if TYPE_CHECKING:
    from catcher.api.engine_client import EngineClient
    from catcher.app.engine_handle import EngineHandle as EngineHandle
    from catcher.app.replicating import ReplicationPair
    from catcher.app.reproducing import Reproduction
    from catcher.authoring import RuleTestResult, VirtualEngine
    from catcher.authoring.tuning import SweepResult

__all__ = [
    "SETTINGS_CLASSES",
    "Client",
    "count_waiting_runs",
    "create_rule_subset",
    "create_scaffold",
    "format_sql_views",
    "get_alert_resource",
    "get_engine_client",
    "load_site",
    "load_site_settings",
    "load_topic_fields",
    "open_client",
    "open_demo_engine",
    "open_engine",
    "open_replay_engine",
    "open_virtual_engine",
    "preview_alert",
    "prune_unused_files",
    "reproduce_run",
    "resolve_data_folder",
    "run_backtest",
    "run_doctor",
    "run_job_in_memory",
    "run_rule_tests",
    "send_test_notification",
    "sweep_rule_limits",
]  # fmt: skip

Row = dict[str, Any]
MAX_COUNTED_RUNS = 10_000
WriteLine = Callable[[str], None]


def load_topic_fields(site: Site, data: Path | None) -> dict[str, list[FieldInfo]]:
    """Returns the fields of the topics whose schemas an engine of the site has seen."""
    from catcher.stores.topic_catalog import CATALOG_FILE, TopicCatalog

    return TopicCatalog(resolve_data_folder(site, data) / CATALOG_FILE).list_fields_by_topic()


# -- engines ------------------------------------------------------------------------------------


def open_engine(
    site: Path | None, data: Path | None, port: int | None = None, write: WriteLine = print,
    subset: RuleSubset | None = None,
) -> AbstractAsyncContextManager[EngineHandle]:  # fmt: skip
    """Opens an engine on a site's own sources; `subset` overrides the setting `engine:`."""
    from catcher.app.engine_runtime import open_engine_on_sources

    loaded_site = load_site(site, subset)
    return open_engine_on_sources(loaded_site, resolve_data_folder(loaded_site, data), port, write)


def open_demo_engine(
    site: Path | None, data: Path | None, port: int | None, speed: float, write: WriteLine = print
) -> AbstractAsyncContextManager[EngineHandle]:
    """Opens an engine on a simulated night, in a temporary folder unless `data` names another."""
    from catcher.app.engine_runtime import open_engine_on_simulator

    loaded_site = (
        load_site(site)
        if site
        else load_site_folder(find_shipped_site(), adapters=SETTINGS_CLASSES)
    )
    return open_engine_on_simulator(
        loaded_site, Path(data).absolute() if data else None, port, speed, write
    )


def open_replay_engine(
    site: Path | None, data: Path | None, files: Sequence[Path], speed: str, port: int | None,
    write: WriteLine = print,
) -> AbstractAsyncContextManager[EngineHandle]:  # fmt: skip
    """Opens an engine on recorded streams instead of the site's sources; it ends with them."""
    from catcher.app.engine_runtime import open_engine_on_recording

    loaded_site = load_site(site)
    return open_engine_on_recording(
        loaded_site, resolve_data_folder(loaded_site, data), files, speed, port, write
    )


# -- tests and backtests ------------------------------------------------------------------------


def open_virtual_engine(
    site: Site, rules: Mapping[str, Rule]
) -> AbstractAsyncContextManager[VirtualEngine]:
    """Opens an engine on a virtual clock with a ledger of its own; it notifies nobody."""
    from catcher.app import virtual_engine

    return virtual_engine.open_virtual_engine(site, rules)


async def run_rule_tests(site: Site, names: Sequence[str]) -> list[RuleTestResult]:
    """Runs the tests beside the rules of a site; all of them if no rule is named."""
    from catcher.app import virtual_engine

    return await virtual_engine.run_rule_tests(site, names)


async def run_backtest(
    site: Site,
    names: Sequence[str],
    files: Sequence[Path],
    on_row: Callable[[Row], None],
    on_progress: Callable[[str], None],
    on_rejected: Callable[[str], None],
) -> None:
    """Replays recorded streams through a site's rules; `on_rejected` receives invalid lines."""
    from catcher.app import virtual_engine

    await virtual_engine.run_backtest(site, names, files, on_row, on_progress, on_rejected)


async def sweep_rule_limits(
    site: Site, name: str, files: Sequence[Path], factors: Sequence[float],
    on_progress: Callable[[str], None], on_rejected: Callable[[str], None],
) -> SweepResult:  # fmt: skip
    """Replays recorded streams through a rule with other limits."""
    from catcher.app import virtual_engine

    return await virtual_engine.sweep_rule_limits(
        site, name, files, factors, on_progress, on_rejected
    )


# -- access -------------------------------------------------------------------------------------


def open_client(
    site: str | Path | None, data: Path | None, token: str = ""
) -> AbstractAsyncContextManager[Client]:
    """Opens a client for an engine's data, whether it runs or not; `site` may be a URL."""
    from catcher.app.client_backend import open_backend

    return Client(lambda: open_backend(site, data, token))


def get_engine_client(site: Path | None, data: Path | None) -> EngineClient:
    """Returns a client of the engine that runs on a site's folder.
    Raises CatcherError if none does.
    """
    from catcher.api.engine_client import EngineClient
    from catcher.app.engine_handle import read_engine_url

    loaded_site = load_site_settings(site)
    folder = resolve_data_folder(loaded_site, data)
    url = read_engine_url(folder)
    if not url:
        raise CatcherError(
            f"no engine runs on {folder}", "start one with `catcher run`, or name it with --data"
        )
    token = loaded_site.settings.api.token
    return EngineClient(url, token.reveal() if token else "")


def get_alert_resource(
    site: Path | None, data: Path | None, path: str, parameters: Mapping[str, str] | None = None
) -> Any:
    """Reads the state of the alert pipeline: from the running engine, else from the ledger.
    `path` is `/dead-letters`, `/silences` or `/shift`.
    """
    from catcher.app.engine_handle import read_engine_url
    from catcher.app.offline_alerts import build_offline_response

    folder = resolve_data_folder(load_site_settings(site), data)
    if read_engine_url(folder):
        with suppress(EngineNotRunning):
            return get_engine_client(site, data).get_json(path, parameters)

    async def read_from_ledger() -> Any:
        async with open_client(site, data) as client:
            return await build_offline_response(client, path, parameters or {})

    return asyncio.run(read_from_ledger())


async def count_waiting_runs(site: Path | None, data: Path | None) -> list[Row]:
    """Returns the waiting runs of each rule: from the running engine, else from the ledger."""
    from catcher.app.engine_handle import read_engine_url

    folder = resolve_data_folder(load_site_settings(site), data)
    if read_engine_url(folder):
        with suppress(CatcherError):
            return get_engine_client(site, data).count_waiting_runs()
    waiting: Counter[str] = Counter()
    async with open_client(site, data) as client:
        for state in ("pending", "running"):
            runs = await client.runs(state=state, limit=MAX_COUNTED_RUNS)
            waiting.update(run.rule for run in runs if not run.parent)
    defaults = {"running": 0, "dropped": 0, "drain": None, "per_minute": 0.0, "grows": False}
    return [
        {"rule": rule, "waiting": count, "spilled": count, **defaults}
        for rule, count in waiting.most_common()
    ]


async def run_doctor(site: Path | None, data: Path | None, probe: bool = False) -> list[Row]:
    """Checks the site, its stores and the engine that runs on it, and returns a row for each check.
    With `probe` the brokers are tested, too.
    """
    from catcher.app.diagnostics import examine_site, probe_broker_queueing
    from catcher.app.engine_handle import read_engine_url

    loaded_site = load_site(site)
    folder = resolve_data_folder(loaded_site, data)
    rows = await examine_site(loaded_site, folder, read_engine_url(folder))
    return [*rows, *([row async for row in probe_broker_queueing(loaded_site)] if probe else [])]


def format_sql_views() -> str:
    """Describes the views that SQL may query, as Markdown."""
    from catcher.stores.ledger.sql_views import format_views_markdown

    return format_views_markdown()


async def reproduce_run(
    site: Path | None, data: Path | None, run_id: str, use_current: bool, tolerance: float
) -> Reproduction:
    """Computes a run again and compares the results."""
    from catcher.app.reproducing import reproduce_run as compute_again

    loaded_site = load_site(site)
    return await compute_again(
        loaded_site, resolve_data_folder(loaded_site, data), run_id, use_current, tolerance
    )


async def run_job_in_memory(
    site: Path | None, data: Path | None, name: str, observation_id: str, rule: str,
    values: Mapping[str, Any],
) -> tuple[Run, Mapping[str, EncodedArtifact]]:  # fmt: skip
    """Runs a job for an observation and returns the run and its artifacts; stores nothing."""
    from catcher.app.run_job import run_job_in_memory as run_trial

    loaded_site = load_site(site)
    return await run_trial(
        loaded_site, resolve_data_folder(loaded_site, data), name, observation_id, rule, values
    )


async def prune_unused_files(site: Path | None, data: Path | None, confirmed: bool) -> list[Row]:
    """Returns a row for each unneeded thing, which is removed if `confirmed`."""
    from catcher.app.garbage_collection import prune_unused_files as run_sweep

    loaded_site = load_site(site)
    return await run_sweep(loaded_site, resolve_data_folder(loaded_site, data), confirmed)


def create_replication(
    site: Path | None, data: Path | None, target: Path, target_data: Path | None
) -> ReplicationPair:
    """Pairs a site with the one that its data is copied to."""
    from catcher.app.replicating import create_replication_pair

    return create_replication_pair(
        load_site(site), data, load_site(target), target_data, wall_clock
    )


# -- notifications ------------------------------------------------------------------------------


def preview_alert(
    site: Path | None, rule: str, severity: Severity | None, event: Mapping[str, Any]
) -> tuple[str, list[Row]]:
    """Returns the name of the alert that a rule would open, and a row for each of its sinks."""
    from catcher.app.alert_preview import preview_alert as build_previews

    alert, previews = build_previews(load_site(site), rule, severity, event, wall_clock())
    return alert.name, [sink_preview.to_json() for sink_preview in previews]


async def send_test_notification(
    site: Path | None, data: Path | None, sink: str, write: WriteLine = print
) -> Row:
    """Sends a marked test through a sink of the site and returns a row of `doctor`."""
    from catcher.app.alert_preview import send_test_notification as send_notification

    loaded_site = load_site(site)
    return await send_notification(
        loaded_site, resolve_data_folder(loaded_site, data), sink, wall_clock, write
    )


def create_scaffold(site: Path | None, kind: str, name: str) -> Path:
    """Creates a file of the site from a template and returns its path."""
    from catcher.authoring.scaffolds import create_file_from_template as write_scaffold

    return write_scaffold(find_site(site), kind, name)
