"""The real `catcher run`, killed at every commit point and at random moments, under load."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.cradle import Cradle
from tests.chaos.load import Load
from tests.chaos.reckoning import drained, faults, measured
from tests.chaos.scene import Scene, write_site
from tests.servers import mosquitto

WHOLE = os.environ.get("CATCHER_CHAOS") == "whole"
SEED = 20251122
ROUND = 25
"""So many deaths share one load and one ledger; then all is counted."""
POINTS = 500
"""A start is about 100 crossings; of the rest, an event with its run takes about 25."""
IN_A_STOP = 50
MOMENTS = 200

Kill = Callable[[Scene], None]


def at(point: int) -> Kill:
    """Dies at a crossing, counted from its start."""

    def kill(scene: Scene) -> None:
        scene.start(die_at=point)
        assert scene.await_death(60), f"no crossing {point}\n{scene.log()}"

    return kill


def in_a_stop(point: int) -> Kill:
    """Is told to stop, and dies at a crossing on the way out, or has ended before."""

    def kill(scene: Scene) -> None:
        scene.start(die_in_stop=point)
        scene.opened()
        scene.stop()

    return kill


def after(seconds: float) -> Kill:
    """Dies at any moment."""

    def kill(scene: Scene) -> None:
        scene.start()
        scene.await_death(seconds)
        scene.kill()

    return kill


def rounds() -> list[tuple[str, list[Kill]]]:
    """What is done to the engine, by name."""
    moments = random.Random(SEED)
    if not WHOLE:
        points = [at(point) for point in (1, 5, 13, 55, 120, 144, 233, 377)]
        stops = [in_a_stop(point) for point in (1, 8, 20)]
        return [("short", [*points, *stops, *(after(moments.uniform(0.5, 4)) for _ in range(4))])]
    kills = [
        *(at(point) for point in range(1, POINTS + 1)),
        *(in_a_stop(point) for point in range(1, IN_A_STOP + 1)),
        *(after(moments.uniform(0.5, 4)) for _ in range(MOMENTS)),
    ]
    return [
        (f"{first + 1}-{first + ROUND}", kills[first : first + ROUND])
        for first in range(0, len(kills), ROUND)
    ]


@pytest.mark.server
@pytest.mark.timeout(1800 if WHOLE else 600)
@pytest.mark.parametrize("kills", [pytest.param(kills, id=name) for name, kills in rounds()])
def test_killed_at_any_point_it_loses_nothing_and_does_nothing_twice(
    kills: list[Kill], tmp_path: Path
) -> None:
    with mosquitto(tmp_path / "broker") as broker, Cradle() as cradle:
        site = write_site(tmp_path / "site", broker.port)
        scene = Scene(tmp_path, site, cradle=cradle)
        try:
            scene.start()
            scene.opened()
            with Load(broker.port) as load:
                scene.kill()
                for kill in kills:
                    kill(scene)
                scene.start()
                scene.opened()
                sent = load.end()
            scene.drain(sent, lambda: measured(scene), lambda: drained(scene, sent))
            assert scene.stop() == 0
        finally:
            scene.kill()
        found = list(faults(scene, sent))
        assert not found, f"{len(found)} faults of {sent}\n" + "\n".join(found[:20])
