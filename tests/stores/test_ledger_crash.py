"""Killed at any instruction, or with a full disk: what was committed is there, whole."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from catcher.model.run import Run
from catcher.ports import Query
from tests.stores.making import ids, ledger_at

WRITER = """
import asyncio, resource, signal, sys
from pathlib import Path
from catcher.ports import StoreAway
from tests.stores.making import NOON, commit_of, done, firing_at, ledger_at, pending

async def write(folder, limit):
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    async with ledger_at(folder) as ledger:
        try:
            for n in range(100_000):
                firing = firing_at(NOON + n, once=f"MC_{n}")
                commit = commit_of(firing, finished=(done(pending(firing), f"MC_{n}"),))
                await ledger.commit(commit)
                print(firing.id, flush=True)
        except StoreAway as error:
            print("away:", error, flush=True)

asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
"""


def start_writer(folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(limit)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


async def check_whole(folder: Path, committed: list[str]) -> list[Run]:
    """Every commit that was answered is there with all its parts, and nothing by halves."""
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert file.execute("PRAGMA foreign_key_check").fetchall() == []
    async with ledger_at(folder) as ledger:
        runs = await ledger.runs(Query(limit=1_000_000))
        assert set(committed) <= set(ids(runs))
        assert ids(runs) == [firing.id for firing in await ledger.firings(Query(limit=1_000_000))]
        assert all(run.state == "done" and run.metrics and run.artifacts for run in runs)
    return list(runs)


@pytest.mark.parametrize("answers", [1, 40, 137])
async def test_killed_in_the_middle_it_has_lost_nothing_it_answered(
    tmp_path: Path, answers: int
) -> None:
    with start_writer(tmp_path) as writer:
        assert writer.stdout is not None
        committed = [writer.stdout.readline().strip() for _ in range(answers)]
        writer.send_signal(signal.SIGKILL)
        committed += writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    await check_whole(tmp_path, committed)


async def test_a_full_disk_is_told_and_harms_nothing(tmp_path: Path) -> None:
    with start_writer(tmp_path, limit=3_000_000) as writer:
        output, _ = writer.communicate()
    *committed, last = output.splitlines()
    assert last.startswith("away:")
    assert "disk" in last
    assert len(committed) > 10
    assert len(await check_whole(tmp_path, committed)) == len(committed)
