"""The real `catcher run`, killed at every commit point and at random moments, under load."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.engine_under_test import EngineUnderTest, write_site
from tests.chaos.event_load import EventLoad
from tests.chaos.fork_server import ForkServer
from tests.chaos.verification import count_measured, find_faults, is_drained
from tests.servers import run_mosquitto

FULL_RUN = os.environ.get("CATCHER_CHAOS") == "whole"
SEED = 20251122
CRASHES_PER_ROUND = 25
"""So many deaths share one load and one ledger; then all is counted."""
CRASH_POINT_COUNT = 500
"""A start is about 100 crossings; of the rest, an event with its run takes about 25."""
STOP_POINT_COUNT = 50
RANDOM_KILL_COUNT = 200

KillFunction = Callable[[EngineUnderTest], None]


def crash_at_point(point: int) -> KillFunction:
    """Dies at a crossing, counted from its start."""

    def kill_engine(engine: EngineUnderTest) -> None:
        engine.start(die_at=point)
        assert engine.wait_for_crash(60), f"no crossing {point}\n{engine.read_log()}"

    return kill_engine


def crash_in_stop(point: int) -> KillFunction:
    """Is told to stop, and dies at a crossing on the way out, or has ended before."""

    def kill_engine(engine: EngineUnderTest) -> None:
        engine.start(die_in_stop=point)
        engine.wait_until_open()
        engine.stop()

    return kill_engine


def kill_after(seconds: float) -> KillFunction:
    """Dies at any moment."""

    def kill_engine(engine: EngineUnderTest) -> None:
        engine.start()
        engine.wait_for_crash(seconds)
        engine.kill_engine()

    return kill_engine


def build_rounds() -> list[tuple[str, list[KillFunction]]]:
    """What is done to the engine, by name."""
    rng = random.Random(SEED)
    if not FULL_RUN:
        points = [crash_at_point(point) for point in (1, 5, 13, 55, 120, 144, 233, 377)]
        stops = [crash_in_stop(point) for point in (1, 8, 20)]
        return [("short", [*points, *stops, *(kill_after(rng.uniform(0.5, 4)) for _ in range(4))])]
    kills = [
        *(crash_at_point(point) for point in range(1, CRASH_POINT_COUNT + 1)),
        *(crash_in_stop(point) for point in range(1, STOP_POINT_COUNT + 1)),
        *(kill_after(rng.uniform(0.5, 4)) for _ in range(RANDOM_KILL_COUNT)),
    ]
    return [
        (f"{first + 1}-{first + CRASHES_PER_ROUND}", kills[first : first + CRASHES_PER_ROUND])
        for first in range(0, len(kills), CRASHES_PER_ROUND)
    ]


@pytest.mark.server
@pytest.mark.timeout(1800 if FULL_RUN else 600)
@pytest.mark.parametrize("kills", [pytest.param(kills, id=name) for name, kills in build_rounds()])
def test_engine_killed_at_any_point_loses_and_repeats_nothing(
    kills: list[KillFunction], tmp_path: Path
) -> None:
    with run_mosquitto(tmp_path / "broker") as broker, ForkServer() as fork_server:
        site = write_site(tmp_path / "site", broker.port)
        engine = EngineUnderTest(tmp_path, site, fork_server=fork_server)
        try:
            engine.start()
            engine.wait_until_open()
            with EventLoad(broker.port) as load:
                engine.kill_engine()
                for kill in kills:
                    kill(engine)
                engine.start()
                engine.wait_until_open()
                sent = load.stop_publishing()
            engine.wait_until_drained(
                sent, lambda: count_measured(engine), lambda: is_drained(engine, sent)
            )
            assert engine.stop() == 0
        finally:
            engine.kill_engine()
        faults = list(find_faults(engine, sent))
        assert not faults, f"{len(faults)} faults of {sent}\n" + "\n".join(faults[:20])
