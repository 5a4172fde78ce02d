"""Reloads a site's files when they are edited while an engine runs on them.
A saved file (or SIGHUP) has the whole site read again, in a thread. The result is swapped in
between two steps of the engine, or not at all: state that the edit does not concern stays, a broken
rule runs on as it was, and what takes effect only at a start is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from watchfiles import awatch

from catcher.app.composition import collect_history_topics
from catcher.app.site_version import (
    ROUTES_FILE,
    SETTINGS_FILE,
    SiteVersion,
    build_next_version,
    diff_versions,
)
from catcher.engine.commands import EngineCommands
from catcher.engine.engine import Engine
from catcher.engine.unit_of_work import UnitOfWork
from catcher.evaluation import RuleEvaluator, rule_fingerprint
from catcher.jobs import RunScheduler
from catcher.model.alert import AuditEntry
from catcher.model.errors import CatcherError, Problem
from catcher.model.health import LiveUpdate
from catcher.model.time import Instant
from catcher.ports import EngineBusy
from catcher.site import Site, compute_site_digest

CONTENT_FOLDERS = ("rules", "jobs", "alerts")
DEBOUNCE_STEP_MS = 200
"""Milliseconds without a further change after which an edit counts as finished."""
MAX_DEBOUNCE_MS = 2000
STABILITY_INTERVAL = 0.2
"""Seconds between two digests that have to be equal: a checkout writes file after file."""
MAX_STABILITY_CHECKS = 50
MAX_REPORTED_PROBLEMS = 20


class HotReloader:
    """Reloads a site when its files change or on request.
    `load_site` reads the site, `first_version` is what the engine was started with, `jobs_folder`
    is where jobs are copied to; `on_reading` is called with True when reading begins and with False
    when it ends; `on_new_version` updates the notification side.
    """

    def __init__(
        self, first_version: SiteVersion, load_site: Callable[[], Site], jobs_folder: Path,
        engine: Engine, scheduler: RunScheduler, commands: EngineCommands,
        on_reading: Callable[[bool], None] = lambda begins: None,
        on_new_version: Callable[[SiteVersion], None] = lambda edition: None,
    ) -> None:  # fmt: skip
        self.version = first_version
        self._first_version = first_version
        self._root = first_version.site.root
        self._load_site = load_site
        self._jobs_folder = jobs_folder
        self._engine = engine
        self._scheduler = scheduler
        self._commands = commands
        self._on_reading = on_reading
        self._on_new_version = on_new_version
        self._reload_requested = asyncio.Event()
        self._is_forced = False

    def request_reload(self) -> None:
        """Requests a reload, whether files changed or not (SIGHUP)."""
        self._is_forced = True
        self._reload_requested.set()

    @asynccontextmanager
    async def watch_and_reload(self) -> AsyncIterator[None]:
        """Watches the site's files for as long as the context lasts."""
        stop_event = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_folders(stop_event))
            reload_task = tasks.create_task(self._run_reload_loop())
            try:
                yield
            finally:
                stop_event.set()
                reload_task.cancel()

    # -- watching ----------------------------------------------------------------------------

    async def _watch_folders(self, stop_event: asyncio.Event) -> None:
        """Watches for changes; lists the folders again whenever one is added or removed."""
        while not stop_event.is_set():
            paths = self._list_content_folders()
            folders_changed = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_root_folder(paths, folders_changed, stop_event))
                if paths:
                    tasks.create_task(self._watch_content_folders(paths, folders_changed))
                # Both watch from their first await; an edit before that would go unnoticed.
                await asyncio.sleep(0)
                self._reload_requested.set()

    async def _watch_root_folder(
        self, paths: list[Path], folders_changed: asyncio.Event, stop_event: asyncio.Event
    ) -> None:
        """Watches the root folder: its `catcher.yaml`, and which content folders it has."""
        batches = awatch(
            self._root,
            recursive=False,
            debounce=MAX_DEBOUNCE_MS,
            step=DEBOUNCE_STEP_MS,
            stop_event=stop_event,
            rust_timeout=1000,
            watch_filter=self._is_relevant_path,
        )
        try:
            async with aclosing(batches):
                async for _ in batches:
                    self._reload_requested.set()
                    if self._list_content_folders() != paths:
                        return
        except OSError as error:
            await self._handle_watch_error(error, stop_event)
        finally:
            folders_changed.set()

    async def _watch_content_folders(
        self, paths: list[Path], folders_changed: asyncio.Event
    ) -> None:
        with suppress(OSError):
            async for _ in awatch(
                *paths,
                debounce=MAX_DEBOUNCE_MS,
                step=DEBOUNCE_STEP_MS,
                stop_event=folders_changed,
                rust_timeout=1000,
            ):
                self._reload_requested.set()

    async def _handle_watch_error(self, error: OSError, stop_event: asyncio.Event) -> None:
        """Reports that files cannot be watched (too many watches, a deleted folder), and waits."""
        self._publish_problem(
            f"the site's files are not watched ({error}); after an edit send SIGHUP"
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await stop_event.wait()

    def _list_content_folders(self) -> list[Path]:
        return [path for name in CONTENT_FOLDERS if (path := self._root / name).is_dir()]

    def _is_relevant_path(self, change: object, path: str) -> bool:
        return Path(path).name in (SETTINGS_FILE, *CONTENT_FOLDERS)

    # -- reloading ---------------------------------------------------------------------------

    async def _run_reload_loop(self) -> None:
        while True:
            await self._reload_requested.wait()
            self._reload_requested.clear()
            is_forced, self._is_forced = self._is_forced, False
            try:
                await self._reload_when_stable(is_forced)
            except CatcherError as error:
                self._publish_problem(f"the site runs on as it was: {error}")
            except EngineBusy as error:
                self._publish_problem(f"the edit waits: {error}")
                await asyncio.sleep(STABILITY_INTERVAL)
                await self._engine.committer.wait_until_available()
                self._is_forced = self._is_forced or is_forced
                self._reload_requested.set()

    async def _reload_when_stable(self, is_forced: bool) -> None:
        """Reads the files once they no longer change, and swaps the result in."""
        for _ in range(MAX_STABILITY_CHECKS):
            previous_digest = await asyncio.to_thread(compute_site_digest, self._root)
            await asyncio.sleep(STABILITY_INTERVAL)
            if previous_digest != await asyncio.to_thread(compute_site_digest, self._root):
                continue
            if previous_digest == self.version.site.digest and not is_forced:
                return
            if await self._read_and_apply_version(previous_digest):
                return
        raise CatcherError("its files never come to rest", "send SIGHUP when they are written")

    async def _read_and_apply_version(self, expected_digest: str) -> bool:
        """Reads the site and applies it; False if the files changed meanwhile."""
        self._on_reading(True)
        try:
            version, evaluator = await asyncio.to_thread(self._read_and_compile_version)
            if version.site.digest != expected_digest:
                return False
            await self._apply_version(version, collect_history_topics(version.rules, evaluator))
            return True
        finally:
            self._on_reading(False)

    def _read_and_compile_version(self) -> tuple[SiteVersion, RuleEvaluator]:
        """Reads the site (in a thread) and compiles its rules once, to see that they can be."""
        if not (self._root / SETTINGS_FILE).is_file():
            raise CatcherError(f"{self._root / SETTINGS_FILE} is gone", "put it back")
        try:
            version = build_next_version(
                self._first_version, self.version, self._load_site(), self._jobs_folder
            )
            return version, RuleEvaluator(list(version.rules.values()))
        except CatcherError:
            raise
        # No error in a user's files may end the engine.
        except Exception as error:
            message = f"it could not be read ({type(error).__name__}: {error})"
            raise CatcherError(message, "mend the last edit") from error

    async def _apply_version(self, version: SiteVersion, history_topics: frozenset[str]) -> None:
        diff = diff_versions(self.version, version)

        def build_work(now: Instant) -> UnitOfWork:
            work = self._replace_components(version, history_topics, now)
            errors = [str(problem) for problem in version.site.errors[:MAX_REPORTED_PROBLEMS]]
            detail = {**diff, "problems": errors, "digest": version.site.digest}
            site = version.site.settings.site
            work.audit.append(AuditEntry(now, "catcher", "engine", "reload", site, detail))
            return work

        await self._engine.submit_command(build_work)
        self._publish_changes(version, diff)

    def _replace_components(
        self, version: SiteVersion, history_topics: frozenset[str], now: Instant
    ) -> UnitOfWork:
        """Replaces all components at once: nothing of the engine runs between these lines."""
        components = self._engine.components
        removed_rules = [
            name
            for name, rule in components.rules.items()
            if name not in version.rules
            or rule_fingerprint(rule) != rule_fingerprint(version.rules[name])
        ]
        end_decisions = components.evaluator.replace_rules(list(version.rules.values()))
        components.alert_service.replace_rules_and_routes(
            version.rules, version.routes, version.broken_rule_ids
        )
        self._engine.components = replace(
            components,
            rules=version.rules,
            history_topics=history_topics,
            remote_rules=version.site.excluded_rule_ids,
        )
        self._scheduler.replace_rules_and_jobs(version.rules, version.registry)
        self._commands.replace_broken_rules(version.list_broken_rules())
        self._on_new_version(version)
        self.version = version
        work = self._engine.apply_external_decisions(end_decisions, now)
        work.removed_rules.extend(removed_rules)
        return work

    # -- reporting ---------------------------------------------------------------------------

    def _publish_changes(self, version: SiteVersion, diff: dict[str, list[str]]) -> None:
        changes = [
            f"{kind} {_format_truncated_list(names)}"
            for kind, names in diff.items()
            if kind in _PUBLISHED_CHANGES
        ]
        summary = "; ".join(changes) or "nothing that runs has changed"
        now, event_bus = self._engine.components.clock(), self._engine.components.event_bus
        event_bus.publish(LiveUpdate("reload", now, f"the site was read anew: {summary}"))
        errors = version.site.errors
        for problem in errors[:MAX_REPORTED_PROBLEMS]:
            self._publish_problem(self._format_problem(problem))
        if len(errors) > MAX_REPORTED_PROBLEMS:
            self._publish_problem(
                f"the site has {len(errors) - MAX_REPORTED_PROBLEMS} "
                "more problems; see `catcher check`"
            )
        if version.pending_restart:
            self._publish_problem(f"restart to apply: {', '.join(version.pending_restart)}")

    def _format_problem(self, problem: Problem) -> str:
        if problem.rule in self.version.kept_rules:
            return f"{problem} (the rule runs on as it was)"
        is_whole_file = problem.location.file in (SETTINGS_FILE, ROUTES_FILE)
        return f"{problem} (the file holds as it was)" if is_whole_file else str(problem)

    def _publish_problem(self, message: str) -> None:
        now, event_bus = self._engine.components.clock(), self._engine.components.event_bus
        event_bus.publish(LiveUpdate("problem", now, message))


_PUBLISHED_CHANGES = ("added", "edited", "gone", "jobs", "routes", "templates")


def _format_truncated_list(names: list[str]) -> str:
    suffix = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + suffix
