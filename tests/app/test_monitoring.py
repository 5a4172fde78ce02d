"""What an engine tells of itself unasked: nothing while it hangs; and how long a stop may take."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from catcher.app.engine_handle import ShutdownDeadline
from catcher.app.monitoring import EngineMonitor
from catcher.model.time import MILLISECOND, SECOND, wall_clock
from catcher.monitoring import Liveness
from tests.monitoring.test_heartbeat import RecordingTarget
from tests.monitoring.test_liveness import ManualMonotonicClock


def create_monitor(clock: ManualMonotonicClock, **environ: str) -> EngineMonitor:
    return EngineMonitor("summit", "engine-1", wall_clock, environ, Liveness(clock))


async def test_blocked_engine_sends_no_heartbeat_until_it_resumes() -> None:
    clock, target = ManualMonotonicClock(), RecordingTarget()
    monitor = create_monitor(clock)
    monitor.liveness.record_iteration()
    clock.now += 20
    async with AsyncExitStack() as stack:
        await monitor.start_monitoring(stack, MILLISECOND, [target])
        for _ in range(5):
            await asyncio.sleep(0)
        assert monitor.get_runtime_status()["heartbeats_withheld"] >= 1
        assert target.heartbeats == []
        monitor.liveness.record_iteration()
        await target.wait_for_heartbeat()
        assert (target.heartbeats[0].state, target.heartbeats[0].engine) == ("ok", "engine-1")
        monitor.set_stopping()
        async with asyncio.timeout(30):
            while target.heartbeats[-1].state != "stopping":
                await target.wait_for_heartbeat()
    assert target.heartbeats[-1].state == "stopped"


async def test_systemd_watchdog_is_not_notified_by_a_blocked_engine(tmp_path: Path) -> None:
    clock = ManualMonotonicClock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
        monitor = create_monitor(clock, **environ)
        monitor.liveness.record_iteration()
        clock.now += 20
        async with monitor.run_systemd_notifier():
            for _ in range(5):
                await asyncio.sleep(0)
            message = systemd.recv(4096).decode()
            assert message.startswith("STATUS=degraded: the engine's loop has not turned for 20 s")
            with pytest.raises(BlockingIOError):
                systemd.recv(4096)
            monitor.liveness.record_iteration()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(30):
                assert await loop.sock_recv(systemd, 4096) == b"WATCHDOG=1"


async def test_standby_engine_is_ready_for_systemd(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monitor = create_monitor(ManualMonotonicClock(), NOTIFY_SOCKET=str(tmp_path / "notify"))
        monitor.set_standby("standing by for engine-0 at http://a:1")
        assert b"READY=1" in systemd.recv(4096)
        assert await monitor.list_readiness_problems() == ["standing by for engine-0 at http://a:1"]
        monitor.set_restoring()
        assert systemd.recv(4096) == b"STATUS=restoring state"
        assert await monitor.list_readiness_problems() == ["restoring"]


def test_stop_reserves_time_for_notifications() -> None:
    now = [0]
    deadline = ShutdownDeadline(20 * SECOND, lambda: now[0])
    now[0] = 100 * SECOND
    deadline.start()
    assert (deadline.remaining_for_jobs, deadline.remaining) == (15 * SECOND, 20 * SECOND)
    now[0] += 16 * SECOND
    deadline.start()
    assert (deadline.remaining_for_jobs, deadline.remaining) == (0, 4 * SECOND)
    now[0] += 16 * SECOND
    assert (deadline.remaining_for_jobs, deadline.remaining) == (0, 0)


def test_stop_without_time_requeues_everything_at_once() -> None:
    assert ShutdownDeadline(0, lambda: 5).remaining_for_jobs == 0
