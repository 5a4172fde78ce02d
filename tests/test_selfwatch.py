"""What an engine tells of itself unasked: nothing while it hangs; and how long a stop may take."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from catcher.app.running import Grace
from catcher.app.selfwatch import SelfWatch
from catcher.model.time import MILLISECOND, SECOND, wall_clock
from catcher.vitals import Pulse
from tests.vitals.test_heartbeat import Noted
from tests.vitals.test_pulse import Clock


def watch(clock: Clock, **environ: str) -> SelfWatch:
    return SelfWatch("summit", "engine-1", wall_clock, environ, Pulse(clock))


async def test_a_hung_engine_sends_no_heartbeat_and_one_that_goes_on_does() -> None:
    clock, way = Clock(), Noted()
    one = watch(clock)
    one.pulse.turn()
    clock.now += 20
    async with AsyncExitStack() as lifetimes:
        await one.opened(lifetimes, MILLISECOND, [way])
        for _ in range(5):
            await asyncio.sleep(0)
        assert one.vitals()["heartbeats_withheld"] >= 1
        assert way.beats == []
        one.pulse.turn()
        await way.next()
        assert (way.beats[0].state, way.beats[0].engine) == ("ok", "engine-1")
        one.stopping()
        async with asyncio.timeout(30):
            while way.beats[-1].state != "stopping":
                await way.next()
    assert way.beats[-1].state == "stopped"


async def test_systemd_is_not_told_that_a_hung_engine_lives(tmp_path: Path) -> None:
    clock = Clock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
        one = watch(clock, **environ)
        one.pulse.turn()
        clock.now += 20
        async with one.watching():
            for _ in range(5):
                await asyncio.sleep(0)
            said = systemd.recv(4096).decode()
            assert said.startswith("STATUS=degraded: the engine's loop has not turned for 20 s")
            with pytest.raises(BlockingIOError):
                systemd.recv(4096)
            one.pulse.turn()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(30):
                assert await loop.sock_recv(systemd, 4096) == b"WATCHDOG=1"


async def test_whoever_stands_by_is_up_as_far_as_systemd_is_concerned(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        one = watch(Clock(), NOTIFY_SOCKET=str(tmp_path / "notify"))
        one.standing_by("standing by for engine-0 at http://a:1")
        assert b"READY=1" in systemd.recv(4096)
        assert await one.unready() == ["standing by for engine-0 at http://a:1"]
        one.restoring()
        assert systemd.recv(4096) == b"STATUS=restoring state"
        assert await one.unready() == ["restoring"]


def test_a_stop_keeps_some_of_its_time_for_the_notices() -> None:
    now = [0]
    grace = Grace(20 * SECOND, lambda: now[0])
    now[0] = 100 * SECOND
    grace.begin()
    assert (grace.for_jobs, grace.left) == (15 * SECOND, 20 * SECOND)
    now[0] += 16 * SECOND
    grace.begin()
    assert (grace.for_jobs, grace.left) == (0, 4 * SECOND)
    now[0] += 16 * SECOND
    assert (grace.for_jobs, grace.left) == (0, 0)


def test_a_stop_without_time_hands_everything_back_at_once() -> None:
    assert Grace(0, lambda: 5).for_jobs == 0
