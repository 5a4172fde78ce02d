"""The embedded history after a kill -9 in the middle of its work: what was written is read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np

from catcher.stores.history.embedded import EmbeddedHistory
from tests.stores.factories import NOON, FakeClock

WRITER_SCRIPT = """
import asyncio, sys
from pathlib import Path
from catcher.model.event import Event
from catcher.stores.history.embedded import EmbeddedHistory

async def write() -> None:
    now = [{noon}]
    async with EmbeddedHistory(Path(sys.argv[1]), clock=lambda: now[0]) as history:
        n = 0
        while True:
            numbers = range(n, n + 1000)
            events = [Event("t", {noon} + i * 10**7, {{"x": float(i)}}) for i in numbers]
            await history.append(events)
            n += 1000
            now[0] = events[-1].time
            await asyncio.sleep(0)
            print(n, history.health().counts["bytes"], flush=True)

asyncio.run(write())
"""


def kill_writer(folder: Path) -> int:
    """Lets a process write into a folder until some is on disk; how many samples it had by then."""
    command = [sys.executable, "-c", WRITER_SCRIPT.format(noon=NOON), str(folder)]
    sent, written = 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while written <= 200_000:
            sent, written = map(int, writer.stdout.readline().split())
        writer.kill()
    return sent


async def test_what_was_written_before_a_kill_is_read_in_order_and_once(tmp_path: Path) -> None:
    sent = await asyncio.to_thread(kill_writer, tmp_path)
    async with EmbeddedHistory(tmp_path, clock=FakeClock()) as history:
        series = await history.read("t", ["x"], 0, 2**62)
        assert history.health().counts["torn"] <= 1
        # Of a hundred a second, less than the half minute that was in memory, and what waited.
        assert 4_000 < len(series) <= sent + 2_000
        np.testing.assert_array_equal(series["x"], np.arange(len(series)))
