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

from tests.cli.command_runner import CommandResult, run_command
from tests.sample_site import WIND, write_site
from tests.stores.factories import NOON, create_commit, create_firing, open_ledger

Damage = Callable[[Path], None]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "site", WIND)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of an engine that ended well."""
    asyncio.run(_write_ledger(tmp_path / "data"))
    return tmp_path / "data"


async def _write_ledger(folder: Path, count: int = 500) -> None:
    async with open_ledger(folder) as ledger_db:
        await ledger_db.commit(create_commit(*(create_firing(NOON + n) for n in range(count))))


def ledger_file(data: Path) -> Path:
    return data / "ledger.db"


def wal_file(data: Path) -> Path:
    return data / "ledger.db-wal"


def overwrite_with_text(data: Path) -> None:
    ledger_file(data).write_bytes(b"Dear diary, today the wind " * 4000)


def truncate_ledger(data: Path) -> None:
    content = ledger_file(data).read_bytes()
    ledger_file(data).write_bytes(content[: len(content) // 2])


def overwrite_a_block(data: Path) -> None:
    with ledger_file(data).open("r+b") as file:
        file.seek(ledger_file(data).stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(3 * 4096))


def corrupt_wal(data: Path) -> None:
    wal_file(data).write_bytes(os.urandom(50_000))


def set_newer_version(data: Path) -> None:
    with closing(sqlite3.connect(ledger_file(data))) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
        file.commit()


def create_foreign_database(data: Path) -> None:
    ledger_file(data).unlink()
    with closing(sqlite3.connect(ledger_file(data))) as file:
        file.execute("CREATE TABLE runs (mine TEXT)")


CASES: dict[str, tuple[Damage, str, str]] = {
    "garbage": (overwrite_with_text, "damaged or no ledger", "move the file away"),
    "cut short": (truncate_ledger, "it was cut short", "move the file away"),
    "holed": (overwrite_a_block, "damaged", "move the file away"),
    "an ill log": (corrupt_wal, "a write-ahead log that is damaged", "bring a backup"),
    "too new": (set_newer_version, "written by a newer Catcher", "upgrade Catcher"),
    "something else": (
        create_foreign_database,
        "a database of something else",
        "file or a database",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_damage_is_reported_with_a_hint_and_left_unchanged(
    site: Path, data: Path, case: str
) -> None:
    damage, message, hint = CASES[case]
    damage(data)
    before = read_ledger_files(data)
    options = ("--site", site, "--data", data)
    for command in (("run", "--port", "0", "--exit-after", "1s"), ("runs",)):
        result = run_command(*command, *options)
        assert result.status == 2, result
        assert message in result.err
        assert hint in result.err
        assert "Traceback" not in result.err
    check_doctor_error(run_command("doctor", *options, "--json"), message, hint)
    assert run_command("doctor", "--sweep", "--yes", *options).status == 2
    assert read_ledger_files(data) == before


def check_doctor_error(result: CommandResult, message: str, hint: str) -> None:
    assert result.status == 1
    (row,) = [row for row in result.rows if row["what"] == "ledger"]
    assert row["state"] == "error"
    assert message in row["found"]
    assert hint in row["hint"]


def read_ledger_files(data: Path) -> dict[str, bytes]:
    """The bytes of the ledger's files; SQLite's shared memory holds nothing that is kept."""
    files = [file for file in data.glob("ledger.db*") if file.suffix not in (".lock", ".db-shm")]
    return {file.name: file.read_bytes() for file in files}


# -- where nothing may be written ---------------------------------------------------------------


@contextlib.contextmanager
def mount_small_disk(folder: Path, size: str = "8m") -> Iterator[None]:
    """A file system of its own at a folder, where this may be made."""
    mount_options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *mount_options], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder's file system is read-only meanwhile."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


@pytest.mark.server
def test_read_only_disk_is_readable_and_an_engine_gives_a_hint(site: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with mount_small_disk(data):
        asyncio.run(_write_ledger(data))
        options = ("--site", site, "--data", data)
        with read_only(data):
            result = run_command("run", "--port", "0", "--exit-after", "1s", *options)
            assert result.status == 2
            assert "cannot be written" in result.err
            assert "--data" in result.err
            assert len(run_command("query", "firings", *options, "--json").rows) == 500
            rows = run_command("doctor", *options, "--json").rows
            assert {"data": "error", "ledger": "ok"}.items() <= {
                row["what"]: row["state"] for row in rows
            }.items()
        wal_file(data).write_bytes(b"\0" * 4096)
        with read_only(data):
            result = run_command("runs", *options)
            assert "copy both files to a folder that can be written" in result.err


@pytest.mark.server
def test_full_disk_at_the_start_is_reported(site: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with mount_small_disk(data, "1m"):
        asyncio.run(_write_ledger(data, 1))
        with (data / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"\0" * 4096)
        content = ledger_file(data).read_bytes()
        options = ("--site", site, "--data", data)
        result = run_command("run", "--port", "0", "--exit-after", "1s", *options)
        assert result.status == 2, result
        assert "disk is full" in result.err or "No space left" in result.err
        assert run_command("doctor", *options).status == 1
        assert ledger_file(data).read_bytes() == content


# -- for a user without the right ---------------------------------------------------------------

DROPPED_CAPABILITIES = "-dac_override,-dac_read_search"
"""What lets root pass by the permissions of files."""


def run_unprivileged(*arguments: str | Path) -> CommandResult:
    """Runs `catcher ARGUMENTS` as somebody for whom permissions hold."""
    command = [sys.executable, "-m", "catcher", *map(str, arguments)]
    if os.geteuid() == 0:
        command = [
            "setpriv",
            f"--bounding-set={DROPPED_CAPABILITIES}",
            f"--inh-caps={DROPPED_CAPABILITIES}",
            *command,
        ]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return CommandResult(completed.returncode, completed.stdout, completed.stderr)


def test_folder_without_permission_is_reported(site: Path, data: Path) -> None:
    before = read_ledger_files(data)
    options = ("--site", site, "--data", data)
    data.chmod(0o555)
    try:
        result = run_unprivileged("run", "--port", "0", "--exit-after", "1s", *options)
        assert (result.status, "Traceback" in result.err) == (2, False), result.err
        assert "give this user the right to write" in result.err
        assert len(run_unprivileged("query", "firings", *options, "--json").rows) == 500
        ledger_file(data).chmod(0o000)
        result = run_unprivileged("runs", *options)
        assert result.status == 2
        assert "cannot be read: Permission denied" in result.err
        assert "give this user the right to" in result.err
    finally:
        data.chmod(0o755)
        ledger_file(data).chmod(0o644)
    assert read_ledger_files(data) == before


def test_object_store_without_permission_is_reported(site: Path, tmp_path: Path) -> None:
    objects_folder = tmp_path / "kept"
    objects_folder.mkdir(mode=0o555)
    (site / "catcher.yaml").write_text(
        f"stores: {{objects: '{objects_folder.as_uri()}/objects'}}\n"
    )
    result = run_unprivileged(
        "run", "--port", "0", "--exit-after", "1s", "--site", site, "--data", tmp_path / "data"
    )
    objects_folder.chmod(0o755)
    assert result.status == 2, result.err
    assert "object store" in result.err
    assert "may be written" in result.err
