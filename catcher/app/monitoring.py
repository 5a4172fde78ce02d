"""The engine's self-monitoring: what it answers, and what it reports by itself."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from catcher.app.status import EngineStatus
from catcher.model import json_rows
from catcher.model.health import LiveUpdate
from catcher.model.time import Clock, Span
from catcher.monitoring import (
    Component,
    EngineCounters,
    HeartbeatMessage,
    HeartbeatSender,
    HeartbeatTarget,
    Liveness,
    LoopBlock,
    LoopLagMeter,
    SystemdNotifier,
    Watchdog,
    build_metric_families,
)
from catcher.monitoring.prometheus import format_families
from catcher.ports import Row

PROBE_INTERVAL = 5.0
"""Seconds between two ledger probes, for callers that cannot wait for its answer."""
NOTIFY_INTERVAL = 1.0
"""Seconds between two notifications of systemd."""


class EngineMonitor:
    """The monitor of one engine, from before it is built to its end.
    Implements `api.health_routes.MonitoringApi`.
    """

    def __init__(
        self, site: str, name: str, clock: Clock, environ: Mapping[str, str],
        liveness: Liveness | None = None,
    ) -> None:  # fmt: skip
        self.liveness = liveness or Liveness()
        self._notifier = SystemdNotifier(environ)
        self._site, self._name, self._clock = site, name, clock
        self._started = clock()
        self._lag_meter = LoopLagMeter()
        self._watchdog = Watchdog(self._lag_meter, _write_stderr, self._report_loop_stall)
        self._counters = EngineCounters()
        self._engine_status: EngineStatus | None = None
        self._heartbeat: HeartbeatSender | None = None
        self._ledger_problem = ""
        self._last_block_time: str | None = None

    # -- lifecycle ----------------------------------------------------------------------------

    @asynccontextmanager
    async def run_systemd_notifier(self) -> AsyncIterator[None]:
        """Notifies systemd for as long as the context lasts."""
        if self._notifier.is_enabled and not faulthandler.is_enabled():
            # systemd's watchdog ends a hung process with SIGABRT: the journal gets the stacks.
            faulthandler.enable()
        notify_task = asyncio.create_task(self._notify_systemd_periodically(), name="systemd")
        try:
            yield
        finally:
            await _cancel_task(notify_task)

    async def attach_engine(self, exit_stack: AsyncExitStack, engine_status: EngineStatus) -> None:
        """Monitors a newly built engine until `exit_stack` closes."""
        self._engine_status = engine_status
        self._counters = EngineCounters(open_alerts=engine_status.alert_service.list_active())
        run_subscription = engine_status.event_bus.runs.subscribe(self._counters.record_run)
        alert_subscription = engine_status.event_bus.alerts.subscribe(self._counters.record_alert)
        exit_stack.callback(run_subscription.dispose)
        exit_stack.callback(alert_subscription.dispose)
        probe_task = asyncio.create_task(
            self._probe_ledger_periodically(engine_status), name="ledger-probe"
        )
        exit_stack.push_async_callback(_cancel_task, probe_task)

    def set_standby(self, message: str) -> None:
        """Marks the engine as standby: another one holds the ledger. Waiting counts as ready."""
        self.liveness.set_phase("standing by", message)
        self._notifier.notify_ready(message)

    def set_restoring(self) -> None:
        """Marks the engine as restoring: it holds the ledger and loads the earlier state."""
        self.liveness.set_phase("restoring")
        self._notifier.notify_status("restoring state")

    async def start_monitoring(
        self, exit_stack: AsyncExitStack, interval: Span, targets: Sequence[HeartbeatTarget]
    ) -> None:
        """Starts the watchdog and the heartbeats, until `exit_stack` closes.
        Called once everything is open and the API answers: from then on nothing may block the loop.
        """
        exit_stack.enter_context(self._lag_meter)
        exit_stack.enter_context(self._watchdog)
        self._heartbeat = HeartbeatSender(interval, targets, self._build_heartbeat)
        await exit_stack.enter_async_context(self._heartbeat)
        self._notifier.notify_ready(self._format_systemd_status())

    def set_stopping(self) -> None:
        """Marks the engine as stopping, on request or at its end."""
        if self.liveness.phase != "stopping":
            self.liveness.set_phase("stopping")
            self._notifier.notify_stopping("stopping: running jobs end, notices are delivered")

    def notify_reload_state(self, is_starting: bool) -> None:
        """Reports that a reload starts or has ended."""
        if is_starting:
            self._notifier.notify_reloading()
        else:
            self._notifier.notify_ready(self._format_systemd_status())

    # -- queries ------------------------------------------------------------------------------

    def get_liveness_problem(self) -> str:
        """Returns why the engine counts as hung; empty while it is alive."""
        return self.liveness.describe_stall()

    def get_runtime_status(self) -> Row:
        """Returns phase, iterations, lag, and what last blocked the event loop, with its stack."""
        median, p99 = self._lag_meter.lag.compute_quantiles(0.5, 0.99)
        last_block = self._watchdog.last_block
        row = {
            "alive": not self.get_liveness_problem(),
            "problem": self.get_liveness_problem(),
            "site": self._site,
            "engine": self._name,
            "version": _get_package_version(),
            "started": json_rows.format_optional_instant(self._started),
            "phase": self.liveness.phase,
            "words": self.liveness.phase_detail,
            "turns": self.liveness.iterations,
            "turn_age": self.liveness.seconds_since_iteration,
            "loop_lag": {"p50": median, "p99": p99},
            "blocks": self._watchdog.count,
            "last_block": {**asdict(last_block), "told": self._last_block_time}
            if last_block
            else None,
            "heartbeats_withheld": self._heartbeat.withheld_count if self._heartbeat else 0,
        }
        return {name: json_rows.to_json_value(value) for name, value in row.items()}

    async def list_readiness_problems(self) -> Sequence[str]:
        """Returns why the engine is not ready, as messages; empty if it is ready."""
        engine_status = self._engine_status
        if engine_status is not None and self.liveness.phase == "running":
            self._ledger_problem = await engine_status.probe_ledger()
        return self._list_known_problems()

    async def render_metrics(self) -> str:
        """Renders all metrics in the text format of Prometheus; in a thread, since it is long."""
        engine_status = self._engine_status
        if engine_status is None:
            return ""
        info = {"version": _get_package_version(), "site": self._site, "engine": self._name}
        withheld_count = self._heartbeat.withheld_count if self._heartbeat else 0
        snapshot = engine_status.build_metrics_snapshot(
            self.liveness,
            self._lag_meter,
            self._counters,
            info,
            self._started,
            self._watchdog.count,
            not self._list_known_problems(),
            withheld_count,
        )
        metric_families = []
        for family in build_metric_families(snapshot):
            metric_families.append(family)
            # With thousands of rules each takes a millisecond or more: let others run in between.
            await asyncio.sleep(0)
        return await asyncio.to_thread(format_families, metric_families)

    def count_waiting_runs(self) -> Sequence[Row]:
        """Returns a row for each rule that runs jobs, with running, waiting and dropped runs."""
        if self._engine_status is None:
            return []
        backlogs = self._engine_status.collect_rule_backlogs(self._counters)
        return [{**asdict(backlog), "grows": backlog.is_growing} for backlog in backlogs]

    def list_heartbeat_components(self) -> list[Component]:
        """The components of the heartbeat targets."""
        return (
            [Component("heartbeat", health) for health in self._heartbeat.health()]
            if self._heartbeat
            else []
        )

    # -- internals ----------------------------------------------------------------------------

    def _list_known_problems(self) -> list[str]:
        """Lists the problems known without querying any store."""
        phase = self.liveness.phase
        if phase != "running":
            return [self.liveness.phase_detail or phase]
        problems = [self.liveness.describe_stall(), self._ledger_problem]
        if self._engine_status is not None:
            problems += self._engine_status.iter_critical_problems()
        return [problem for problem in problems if problem]

    def _build_heartbeat(self, is_last: bool) -> HeartbeatMessage | None:
        """Builds the current heartbeat; None while the engine's own loop does not iterate."""
        if is_last or self.liveness.phase == "stopping":
            state: Literal["stopping", "stopped"] = "stopped" if is_last else "stopping"
            return HeartbeatMessage(self._clock(), self._site, self._name, state)
        if self.liveness.describe_stall():
            return None
        problems = self._list_known_problems()
        warnings = list(self._engine_status.iter_warnings()) if self._engine_status else []
        details, now = (*problems, *warnings), self._clock()
        return HeartbeatMessage(
            now, self._site, self._name, "degraded" if problems else "ok", details
        )

    async def _probe_ledger_periodically(self, engine_status: EngineStatus) -> None:
        while True:
            self._ledger_problem = await engine_status.probe_ledger()
            await asyncio.sleep(PROBE_INTERVAL)

    async def _notify_systemd_periodically(self) -> None:
        """Notifies systemd of liveness while the engine's own loop iterates, and of its status."""
        if not self._notifier.is_enabled:
            return
        while True:
            if not self.liveness.describe_stall():
                self._notifier.notify_alive()
            if self.liveness.phase == "running":
                self._notifier.notify_status(self._format_systemd_status())
            await asyncio.sleep(
                min(NOTIFY_INTERVAL, self._notifier.watchdog_interval or NOTIFY_INTERVAL)
            )

    def _format_systemd_status(self) -> str:
        problems = self._list_known_problems()
        return f"degraded: {problems[0]}" if problems else "watching"

    def _report_loop_stall(self, block: LoopBlock) -> None:
        self._last_block_time = json_rows.format_optional_instant(self._clock())
        if self._engine_status is not None:
            self._engine_status.event_bus.publish(LiveUpdate("problem", self._clock(), str(block)))


async def _cancel_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _write_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _get_package_version() -> str:
    try:
        return version("observatory-catcher")
    except PackageNotFoundError:
        return "unknown"
