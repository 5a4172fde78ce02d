"""A ledger that is damaged, too new or out of reach: told with what to do, and left as it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.calling import Answer, call
from tests.small_site import WIND, write_site
from tests.stores.making import NOON, commit_of, firing_at, ledger_at

Damage = Callable[[Path], None]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "site", WIND)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of an engine that ended well."""
    asyncio.run(_fill(tmp_path / "data"))
    return tmp_path / "data"


async def _fill(folder: Path, count: int = 500) -> None:
    async with ledger_at(folder) as opened:
        await opened.commit(commit_of(*(firing_at(NOON + n) for n in range(count))))


def ledger(data: Path) -> Path:
    return data / "ledger.db"


def log(data: Path) -> Path:
    return data / "ledger.db-wal"


def garbage(data: Path) -> None:
    ledger(data).write_bytes(b"Dear diary, today the wind " * 4000)


def cut_short(data: Path) -> None:
    whole = ledger(data).read_bytes()
    ledger(data).write_bytes(whole[: len(whole) // 2])


def holed(data: Path) -> None:
    with ledger(data).open("r+b") as file:
        file.seek(ledger(data).stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(3 * 4096))


def ill_logged(data: Path) -> None:
    log(data).write_bytes(os.urandom(50_000))


def too_new(data: Path) -> None:
    with closing(sqlite3.connect(ledger(data))) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
        file.commit()


def of_something_else(data: Path) -> None:
    ledger(data).unlink()
    with closing(sqlite3.connect(ledger(data))) as file:
        file.execute("CREATE TABLE runs (mine TEXT)")


CASES: dict[str, tuple[Damage, str, str]] = {
    "garbage": (garbage, "damaged or no ledger", "move the file away"),
    "cut short": (cut_short, "it was cut short", "move the file away"),
    "holed": (holed, "damaged", "move the file away"),
    "an ill log": (ill_logged, "a write-ahead log that is damaged", "bring a backup"),
    "too new": (too_new, "written by a newer Catcher", "upgrade Catcher"),
    "something else": (of_something_else, "a database of something else", "file or a database"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_with_what_to_do_and_left_as_it_is(site: Path, data: Path, case: str) -> None:
    damage, words, hint = CASES[case]
    damage(data)
    before = contents(data)
    where = ("--site", site, "--data", data)
    for command in (("run", "--port", "0", "--exit-after", "1s"), ("runs",)):
        found = call(*command, *where)
        assert found.status == 2, found
        assert words in found.err
        assert hint in found.err
        assert "Traceback" not in found.err
    assert_told(call("doctor", *where, "--json"), words, hint)
    assert call("doctor", "--sweep", "--yes", *where).status == 2
    assert contents(data) == before


def assert_told(found: Answer, words: str, hint: str) -> None:
    assert found.status == 1
    (row,) = [row for row in found.rows if row["what"] == "ledger"]
    assert row["state"] == "error"
    assert words in row["found"]
    assert hint in row["hint"]


def contents(data: Path) -> dict[str, bytes]:
    """The bytes of the ledger's files; SQLite's shared memory holds nothing that is kept."""
    files = [file for file in data.glob("ledger.db*") if file.suffix not in (".lock", ".db-shm")]
    return {file.name: file.read_bytes() for file in files}


# -- where nothing may be written ---------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "8m") -> Iterator[None]:
    """A file system of its own at a folder, where this may be made."""
    options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """The folder's file system is read-only meanwhile."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


@pytest.mark.server
def test_on_a_read_only_disk_it_can_be_read_and_an_engine_says_what_to_do(
    site: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with small_disk(data):
        asyncio.run(_fill(data))
        where = ("--site", site, "--data", data)
        with frozen(data):
            found = call("run", "--port", "0", "--exit-after", "1s", *where)
            assert found.status == 2
            assert "cannot be written" in found.err
            assert "--data" in found.err
            assert len(call("query", "firings", *where, "--json").rows) == 500
            rows = call("doctor", *where, "--json").rows
            assert {"data": "error", "ledger": "ok"}.items() <= {
                row["what"]: row["state"] for row in rows
            }.items()
        log(data).write_bytes(b"\0" * 4096)
        with frozen(data):
            found = call("runs", *where)
            assert "copy both files to a folder that can be written" in found.err


@pytest.mark.server
def test_a_disk_that_is_full_at_the_start_is_told(site: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with small_disk(data, "1m"):
        asyncio.run(_fill(data, 1))
        with (data / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"\0" * 4096)
        whole = ledger(data).read_bytes()
        where = ("--site", site, "--data", data)
        found = call("run", "--port", "0", "--exit-after", "1s", *where)
        assert found.status == 2, found
        assert "disk is full" in found.err or "No space left" in found.err
        assert call("doctor", *where).status == 1
        assert ledger(data).read_bytes() == whole


# -- for a user without the right ---------------------------------------------------------------

POWERS = "-dac_override,-dac_read_search"
"""What lets root pass by the permissions of files."""


def call_without_powers(*arguments: str | Path) -> Answer:
    """Runs `catcher ARGUMENTS` as somebody for whom permissions hold."""
    command = [sys.executable, "-m", "catcher", *map(str, arguments)]
    if os.geteuid() == 0:
        command = ["setpriv", f"--bounding-set={POWERS}", f"--inh-caps={POWERS}", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def test_a_folder_without_permission_is_told(site: Path, data: Path) -> None:
    before = contents(data)
    where = ("--site", site, "--data", data)
    data.chmod(0o555)
    try:
        found = call_without_powers("run", "--port", "0", "--exit-after", "1s", *where)
        assert (found.status, "Traceback" in found.err) == (2, False), found.err
        assert "give this user the right to write" in found.err
        assert len(call_without_powers("query", "firings", *where, "--json").rows) == 500
        ledger(data).chmod(0o000)
        found = call_without_powers("runs", *where)
        assert found.status == 2
        assert "cannot be read: Permission denied" in found.err
        assert "give this user the right to" in found.err
    finally:
        data.chmod(0o755)
        ledger(data).chmod(0o644)
    assert contents(data) == before


def test_an_object_store_without_permission_is_told(site: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o555)
    (site / "catcher.yaml").write_text(f"stores: {{objects: '{kept.as_uri()}/objects'}}\n")
    found = call_without_powers(
        "run", "--port", "0", "--exit-after", "1s", "--site", site, "--data", tmp_path / "data"
    )
    kept.chmod(0o755)
    assert found.status == 2, found.err
    assert "object store" in found.err
    assert "may be written" in found.err
