"""The embedded history after a kill -9 in the middle of its work: what was written is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from catcher.stores.history import EmbeddedHistory
from tests.stores.making import NOON, FakeClock

WRITER = """
import asyncio, sys
from pathlib import Path
from catcher.model.event import Event
from catcher.stores.history import EmbeddedHistory

async def write() -> None:
    now = [{noon}]
    async with EmbeddedHistory(Path(sys.argv[1]), clock=lambda: now[0]) as history:
        n = 0
        while True:
            events = [Event("t", {noon} + (n + i) * 10**7, {{"x": float(n + i)}}) for i in range(1000)]
            await history.append(events)
            n += 1000
            now[0] = events[-1].time
            await asyncio.sleep(0)
            print(n, history.health().counts["bytes"], flush=True)

asyncio.run(write())
"""


async def test_what_was_written_before_a_kill_is_read_in_order_and_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER.format(noon=NOON), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            sent, written = map(int, line.split())
            if written > 200_000:
                writer.kill()
                break
    async with EmbeddedHistory(tmp_path, clock=FakeClock()) as history:
        series = await history.read("t", ["x"], 0, 2**62)
        assert history.health().counts["torn"] <= 1
        # Of a hundred a second, less than the half minute that was in memory, and what waited.
        assert 4_000 < len(series) <= sent
        np.testing.assert_array_equal(series["x"], np.arange(len(series)))
