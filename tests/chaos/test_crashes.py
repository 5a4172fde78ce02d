"""The real `catcher run`, killed at every commit point and at random moments, under load."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.load import Load
from tests.chaos.reckoning import drained, faults
from tests.chaos.scene import Scene, write_site
from tests.servers import mosquitto

WHOLE = os.environ.get("CATCHER_CHAOS") == "whole"
POINTS = range(1, 301) if WHOLE else (1, 2, 5, 13, 34, 55, 89, 144, 233, 377)
MOMENTS = 200 if WHOLE else 4
SEED = 20251122


@pytest.mark.server
@pytest.mark.timeout(7200 if WHOLE else 600)
def test_killed_at_every_point_it_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    moments = random.Random(SEED)
    with mosquitto(tmp_path / "broker") as broker:
        scene = Scene(tmp_path, write_site(tmp_path / "site", broker.port))
        try:
            scene.start()
            scene.opened()
            with Load(broker.port) as load:
                scene.kill()
                for point in POINTS:
                    scene.start(die_at=point)
                    assert scene.await_death(60), f"no crossing {point}\n{scene.log()}"
                for _ in range(MOMENTS):
                    scene.start()
                    scene.await_death(moments.uniform(0.5, 4))
                    scene.kill()
                scene.start()
                scene.opened()
                sent = load.end()
            scene.until(lambda: drained(scene, sent), f"the end of {sent} runs")
            assert scene.stop() == 0
        finally:
            scene.kill()
        found = list(faults(scene, sent))
        assert not found, f"{len(found)} faults of {sent}\n" + "\n".join(found[:20])
