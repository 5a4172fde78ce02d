"""Checks a site's files, its stores and its running engine from outside, for `catcher doctor`."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catcher.api.engine_client import EngineClient
from catcher.app.adapter_registry import SETTINGS_CLASSES
from catcher.app.garbage_collection import Orphans, find_orphaned_artifacts
from catcher.app.paths import SPOOL_PATH, open_artifact_store, resolve_ledger_url
from catcher.app.site_version import ROUTES_FILE, SETTINGS_FILE
from catcher.model.errors import CatcherError
from catcher.model.health import PERMANENT_REJECTION_PREFIX
from catcher.model.time import MINUTE, humanize_instant, wall_clock
from catcher.site import Site
from catcher.stores.artifacts.object_store import ObstoreStore
from catcher.stores.artifacts.spool_queue import CORRUPT_SUFFIX, SpoolFiles
from catcher.stores.ledger.diagnostics import BacklogReport, QueueDepth
from catcher.stores.ledger.ledger import SqlLedger
from catcher.stores.ledger.sqlite_files import RECOVERY_HINT

Row = dict[str, Any]
MAX_SILENCE = MINUTE
"""A running run without a heartbeat for so long is probably dead."""
NEXT_START_HINT = "the next `catcher run` takes them up"
SWEEP_HINT = "`catcher doctor --sweep` lists them, and removes them with --yes"
MAX_NAMES = 3


def build_check_row(subject: str, state: str, message: str, hint: str = "") -> Row:
    """Builds the row of one check; `state` is ok, warning or error."""
    return {"what": subject, "state": state, "found": message, "hint": hint}


async def examine_stores(site: Site, data: Path, url: str) -> AsyncIterator[Row]:
    """Checks the ledger with all that waits in it, the spool and the artifacts."""
    default_path = data / "ledger.db"
    address = resolve_ledger_url(site, data)
    name = str(default_path) if str(default_path) in address else "the one that catcher.yaml names"
    try:
        async with SqlLedger(address) as ledger:
            size = (
                f", {default_path.stat().st_size / 2**20:.1f} MiB" if default_path.exists() else ""
            )
            async for row in _examine_ledger(ledger, name + size, bool(url)):
                yield row
            for row in await asyncio.to_thread(lambda: list(_examine_spool(data))):
                yield row
            async for row in _examine_artifacts(ledger, site, data):
                yield row
    except CatcherError as error:
        is_missing = str(default_path) in address and not default_path.exists()
        yield build_check_row(
            "ledger", "warning" if is_missing else "error", error.message, error.hint
        )


async def _examine_ledger(ledger: SqlLedger, name: str, is_running: bool) -> AsyncIterator[Row]:
    flaws = await ledger.list_integrity_errors()
    holder = await ledger.find_lease_holder()
    yield build_check_row("ledger", "ok", name if holder is None else f"{name}, held by {holder}")
    for flaw in flaws:
        yield build_check_row("ledger", "error", f"it is damaged: {flaw}", RECOVERY_HINT)
    for row in _examine_backlog(await ledger.read_backlog(), is_running or holder is not None):
        yield row


def _examine_backlog(tally: BacklogReport, is_running: bool) -> Iterator[Row]:
    """Reports what waits; that is no problem while an engine works on it."""
    state, hint = ("ok", "") if is_running else ("warning", NEXT_START_HINT)
    queues = {
        "inbox": (tally.uncovered, "events that no saved state covers yet"),
        "runs": (tally.pending, "runs that wait"),
        "running": (tally.running, "runs that are going on"),
        "outbox": (tally.undelivered, "notices that are not delivered yet"),
        "exports": (tally.exports, "finished runs whose metrics are not exported yet"),
    }
    for subject, (backlog, message) in queues.items():
        if backlog.count:
            yield build_check_row(subject, state, _format_backlog(backlog, message), hint)
    now = wall_clock()
    if is_running and tally.heartbeat is not None and now - tally.heartbeat > MAX_SILENCE:
        message = f"a run is going on that was last heard of {humanize_instant(tally.heartbeat)}"
        yield build_check_row(
            "running", "warning", message, "`catcher runs --state running` names its engine"
        )
    if tally.dead.count:
        message = _format_backlog(tally.dead, "notices were given up")
        yield build_check_row(
            "dead letters", "warning", message, "`catcher dead-letters` lists and resends them"
        )


def _format_backlog(backlog: QueueDepth, message: str) -> str:
    oldest = "" if backlog.oldest is None else f", the oldest of {humanize_instant(backlog.oldest)}"
    return f"{backlog.count} {message}{oldest}"


def _examine_spool(data: Path) -> Iterator[Row]:
    files = SpoolFiles(data / SPOOL_PATH)
    try:
        files.scan_folder()
        damaged = [path.name for path in (data / SPOOL_PATH).glob(f"*{CORRUPT_SUFFIX}")]
    except OSError as error:
        yield build_check_row(
            "spool", "error", f"{data / SPOOL_PATH} cannot be read: {error.strerror}"
        )
        return
    oldest = files.oldest
    if oldest is not None:
        message = f"{len(files)} artifacts wait for their store ({files.size / 1e6:.1f} MB)"
        hint = "see to the object store; they are brought over by themselves while an engine runs"
        yield build_check_row(
            "spool", "warning", f"{message}, the oldest of {humanize_instant(oldest.written)}", hint
        )
    if damaged:
        message = (
            f"{len(damaged)} artifacts could not be brought over: {_format_truncated_list(damaged)}"
        )
        yield build_check_row(
            "spool", "error", message, f"they lie in {data / SPOOL_PATH}; look and remove them"
        )


async def _examine_artifacts(ledger: SqlLedger, site: Site, data: Path) -> AsyncIterator[Row]:
    try:
        objects: ObstoreStore = open_artifact_store(site, data)
        listed_keys = await ledger.list_artifact_keys()
        existing = {entry.key async for entry in objects.iter_object_infos()}
        orphans = await find_orphaned_artifacts(ledger, objects, wall_clock())
    except CatcherError as error:
        yield build_check_row(
            "artifacts", "error", error.message, error.hint or "see to the object store"
        )
        return
    missing = sorted(
        set(listed_keys) - existing - set(await asyncio.to_thread(_list_spooled_keys, data))
    )
    if missing:
        message = (
            f"{len(missing)} of {len(listed_keys)} are not "
            f"where they should be: {_format_truncated_list(missing)}"
        )
        hint = "they were removed by hand, or the store is another one; bring a backup back"
        yield build_check_row("artifacts", "error", message, hint)
    else:
        yield build_check_row("artifacts", "ok", f"{len(listed_keys)} listed, all there")
    for row in _examine_orphans(orphans):
        yield row


def _list_spooled_keys(data: Path) -> Sequence[str]:
    files = SpoolFiles(data / SPOOL_PATH)
    files.scan_folder()
    return list(files.keys)


def _examine_orphans(orphans: Orphans) -> Iterator[Row]:
    if orphans.removable:
        size = sum(entry.size for entry in orphans.removable) / 1e6
        message = f"{len(orphans.removable)} ({size:.1f} MB) belong to no result"
        yield build_check_row("artifacts", "warning", message, SWEEP_HINT)
    if orphans.unknown_run_keys:
        message = f"{len(orphans.unknown_run_keys)} are of runs that this ledger does not know"
        hint = "another ledger may: they are left alone"
        yield build_check_row(
            "artifacts",
            "warning",
            f"{message}: {_format_truncated_list(orphans.unknown_run_keys)}",
            hint,
        )


def _format_truncated_list(names: Sequence[str]) -> str:
    suffix = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + suffix


# -- site, data folder and engine -----------------------------------------------------------------


_START_EFFECTS = {
    SETTINGS_FILE: "`catcher run` does not start so",
    ROUTES_FILE: "a start leaves this part out",
}
"""The effect of a broken file, if no engine runs with its earlier content."""
MIN_FREE_BYTES = 2**30
"""Free bytes below which a night's telemetry and artifacts may not fit."""
STATE_HINTS = {
    "away": "see that it runs and can be reached from here; Catcher goes on trying by itself",
    "stale": "see why it sends nothing",
}
BLOCKED_HINT = (
    "an `async def` job or a sink of the site may compute there; `def` jobs have processes"
)
CREDENTIALS_HINT = "check its username, password or token"
REJECTED_HINT = (
    "it answers, and will not take what it is sent: mend what it says (its settings in "
    "alerts/routes.yaml, its template), then `catcher dead-letters --all` sends again what it "
    "turned down"
)


async def examine_site(site: Site, data: Path, url: str) -> list[Row]:
    """Returns a row for each check: `what`, `state` (ok, warning, error), `found`, `hint`."""
    rows = [*_site_problems_to_rows(site, bool(url)), *_examine_data_folder(data)]
    rows += [row async for row in examine_stores(site, data, url)]
    rows += await asyncio.to_thread(lambda: list(_examine_engine(site, url)))
    return rows


def _site_problems_to_rows(site: Site, is_running: bool) -> Iterator[Row]:
    yield build_check_row("site", "ok", f"{site.root}, {len(site.rules)} rules")
    for problem in site.problems:
        message = f"{problem.location}: {problem.message}"
        if problem in site.config_errors:
            consequence = (
                "the engine goes on as it was"
                if is_running
                else _START_EFFECTS[problem.location.file]
            )
            yield build_check_row("settings", "error", f"{message} ({consequence})", problem.hint)
        else:
            yield build_check_row("site", problem.severity, message, problem.hint)


def _examine_data_folder(data: Path) -> Iterator[Row]:
    if not data.is_dir():
        yield build_check_row(
            "data", "warning", f"{data} is not there yet", "`catcher run` makes it"
        )
        return
    if not os.access(data, os.W_OK):
        yield build_check_row(
            "data", "error", f"{data} cannot be written", "give this user the right to"
        )
    free = shutil.disk_usage(data).free
    state, hint = (
        ("ok", "") if free > MIN_FREE_BYTES else ("error", "make room, or choose another --data")
    )
    yield build_check_row("data", state, f"{data}, {free / 2**30:.1f} GiB free", hint)


def _examine_engine(site: Site, url: str) -> Iterator[Row]:
    if not url:
        yield build_check_row(
            "engine", "warning", "none runs on this folder", "`catcher run` starts one"
        )
        return
    token = site.settings.api.token
    client = EngineClient(url, token.reveal() if token else "")
    try:
        rows = [
            *(_health_to_row(health) for health in client.list_health()),
            *_examine_runtime(client),
        ]
    except CatcherError as error:
        yield build_check_row("engine", "error", error.message, error.hint)
        return
    yield build_check_row("engine", "ok", f"answers at {url}")
    yield from rows


def _examine_runtime(client: EngineClient) -> Iterator[Row]:
    """Checks the engine itself: its phase, its readiness, and what blocked its event loop."""
    status = client.get_runtime_status()
    for problem in client.list_readiness_problems():
        yield build_check_row(
            "readiness", "error", problem, "what is away comes back by itself once mended"
        )
    lag, block = status["loop_lag"], status["last_block"]
    message = f"{status['phase']}, late by {1e3 * (lag['p99'] or 0):.0f} ms at most (99 %)"
    yield build_check_row(
        "event loop", "ok" if status["alive"] else "error", message, status["problem"]
    )
    if block:
        summary = (
            f"{status['blocks']} times, last until {block['told']} for {block['seconds']:.1f} s"
        )
        yield build_check_row(
            "event loop", "warning", f"blocked {summary}: {block['place']}", BLOCKED_HINT
        )


def _health_to_row(health: Mapping[str, Any]) -> Row:
    state = "ok" if health["state"] in ("ok", "ended", "starting") else "error"
    counts = ", ".join(f"{name} {count}" for name, count in health["counts"].items() if count)
    message = ": ".join(filter(None, (health["state"], health["problem"] or counts)))
    subject = f"{health['kind']} {health['name']}"
    return build_check_row(subject, state, message, _suggest_fix(health))


def _suggest_fix(health: Mapping[str, Any]) -> str:
    problem = str(health["problem"]).lower()
    if "authori" in problem:
        return CREDENTIALS_HINT
    if problem.startswith(PERMANENT_REJECTION_PREFIX):
        return REJECTED_HINT
    return STATE_HINTS.get(health["state"], "")


# -- whether brokers queue messages while the engine is offline -----------------------------------


RAISE_LIMITS_HINT = (
    "raise its limits for clients that are away: mosquitto wants `max_queued_messages 0` "
    "(none) or as many as an outage brings, and `max_inflight_messages 0`"
)


async def probe_broker_queueing(site: Site) -> AsyncIterator[Row]:
    """Tests the broker of each MQTT source on a scratch topic, which is left empty; yields rows."""
    from catcher.transport.mqtt.queue_probe import probe_broker_queue

    for name, spec in site.settings.sources.items():
        if spec.adapter.kind != "mqtt":
            continue
        broker: Any = spec.adapter.bind_settings(SETTINGS_CLASSES["source", "mqtt"])
        try:
            result = await probe_broker_queue(broker)
        except CatcherError as error:
            yield build_check_row(f"broker {name}", "error", error.message, error.hint)
            continue
        if not result.received_count:
            message = "none of the messages that were published while a client was away came"
            hint = "allow this user to write and read catcher/probe/#, and to have a session kept"
            yield build_check_row(f"broker {name}", "error", message, hint)
        elif result.received_count < result.sent_count:
            message = (
                f"keeps {result.received_count} messages "
                "for a client that is away and drops the rest"
            )
            yield build_check_row(f"broker {name}", "error", message, RAISE_LIMITS_HINT)
        else:
            message = f"keeps {result.sent_count} messages and more for a client that is away"
            yield build_check_row(f"broker {name}", "ok", message)
