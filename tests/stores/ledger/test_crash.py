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
from tests.stores.factories import list_ids, open_ledger

WRITER_SCRIPT = """
import asyncio, resource, signal, sys
from pathlib import Path
from catcher.ports import StoreUnavailable
from tests.stores import factories

async def write(folder, limit):
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    async with factories.open_ledger(folder) as ledger:
        try:
            for n in range(100_000):
                firing = factories.create_firing(factories.NOON + n, once_value=f"MC_{n}")
                run = factories.finish_run(factories.create_run(firing), f"MC_{n}")
                await ledger.commit(factories.create_commit(firing, finished=(run,)))
                print(firing.id, flush=True)
        except StoreUnavailable as error:
            print("away:", error, flush=True)

asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
"""


def start_writer(folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER_SCRIPT, str(folder), str(limit)]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


async def check_integrity(folder: Path, committed: list[str]) -> list[Run]:
    """Every commit that was answered is there with all its parts, and nothing by halves."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    async with open_ledger(folder) as ledger:
        runs = await ledger.list_runs(Query(limit=1_000_000))
        assert set(committed) <= set(list_ids(runs))
        assert list_ids(runs) == [
            firing.id for firing in await ledger.list_firings(Query(limit=1_000_000))
        ]
        assert all(run.state == "done" and run.metrics and run.artifacts for run in runs)
    return list(runs)


@pytest.mark.parametrize("commit_count", [1, 40, 137])
async def test_killed_midway_it_has_lost_nothing_it_acknowledged(
    tmp_path: Path, commit_count: int
) -> None:
    with start_writer(tmp_path) as writer:
        assert writer.stdout is not None
        committed = [writer.stdout.readline().strip() for _ in range(commit_count)]
        writer.send_signal(signal.SIGKILL)
        committed += writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    await check_integrity(tmp_path, committed)


async def test_a_full_disk_is_reported_and_harms_nothing(tmp_path: Path) -> None:
    with start_writer(tmp_path, limit=3_000_000) as writer:
        output, _ = writer.communicate()
    *committed, last = output.splitlines()
    assert last.startswith("away:")
    assert "disk" in last
    assert len(committed) > 10
    assert len(await check_integrity(tmp_path, committed)) == len(committed)
