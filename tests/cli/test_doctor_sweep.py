"""`catcher doctor` finds what waits and what is missing; `--sweep` removes what nobody needs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from catcher.model.commit import Commit
from catcher.model.event import ReceivedEvent
from catcher.model.result import EncodedArtifact
from catcher.model.run import Run
from catcher.model.time import HOUR, SECOND
from catcher.stores.artifacts.spool_queue import SpoolFiles
from tests.cli.command_runner import CommandResult, run_command
from tests.sample_site import DOUBLING, engine_in_thread, write_site
from tests.servers import run_mosquitto
from tests.stores.factories import (
    NOON,
    create_alert,
    create_commit,
    create_event,
    create_firing,
    create_notification,
    create_run,
    finish_run,
    open_ledger,
)


@dataclass
class SweepSite:
    """A site and its data folder."""

    site: Path
    data: Path

    def run_command(self, *arguments: str) -> CommandResult:
        return run_command(*arguments, "--site", self.site, "--data", self.data)

    def run_doctor(self) -> dict[str, dict[str, Any]]:
        return {row["what"]: row for row in self.run_command("doctor", "--json").rows}

    def sweep(self, *options: str) -> list[tuple[str, str]]:
        rows = self.run_command("doctor", "--sweep", "--json", *options).rows
        return [(row["what"], Path(row["name"]).name) for row in rows]

    def write_artifact(self, run: Run, name: str, *, old: bool = True) -> Path:
        """An object as a run keeps it."""
        path = self.data / "objects" / run.rule / "2023/07/28" / run.id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        return make_old(path) if old else path


def make_old(path: Path) -> Path:
    """As if it had been written two hours ago."""
    timestamp = time.time() - 2 * HOUR / SECOND
    os.utime(path, (timestamp, timestamp))
    return path


@pytest.fixture
def sweep_site(tmp_path: Path) -> SweepSite:
    (tmp_path / "data").mkdir()
    return SweepSite(write_site(tmp_path / "site", DOUBLING), tmp_path / "data")


def write_commits(place: SweepSite, *commits: Commit) -> None:
    async def write_ledger() -> None:
        async with open_ledger(place.data) as ledger:
            for commit in commits:
                await ledger.commit(commit)

    asyncio.run(write_ledger())


def create_finished_runs(*times: int) -> Sequence[Run]:
    return [finish_run(create_run(create_firing(NOON + time * SECOND))) for time in times]


def test_pending_items_are_reported_with_hints(sweep_site: SweepSite) -> None:
    alert = create_alert(NOON)
    write_commits(
        sweep_site,
        create_commit(
            create_firing(NOON), inbox=(ReceivedEvent(create_event(NOON), NOON),), alerts=(alert,)
        ),
        Commit(notices=(create_notification(alert),)),
    )
    files = SpoolFiles(sweep_site.data / "spool" / "objects")
    files.load()
    files.write_artifact(
        "r/2023/07/28/aaaaaaaaaaaa/a.txt", EncodedArtifact("a.txt", b"a", "text/plain"), NOON
    )
    checks = sweep_site.run_doctor()
    assert checks["inbox"]["found"].startswith(
        "1 events that no saved state covers yet, the oldest"
    )
    assert checks["runs"]["found"].startswith("1 runs that wait")
    assert checks["outbox"]["found"].startswith("1 notices that are not delivered yet")
    assert checks["spool"]["found"].startswith("1 artifacts wait for their store")
    assert all(checks[name]["state"] == "warning" for name in ("inbox", "runs", "outbox", "spool"))
    assert all(checks[name]["hint"] for name in ("inbox", "runs", "outbox", "spool"))


def test_missing_artifacts_are_reported(sweep_site: SweepSite) -> None:
    first, second = create_finished_runs(0, 1)
    write_commits(sweep_site, create_commit(first.firing, second.firing, finished=(first, second)))
    sweep_site.write_artifact(first, "jitter.png")
    check = sweep_site.run_doctor()["artifacts"]
    assert check["state"] == "error"
    assert check["found"].startswith("1 of 2 are not where they should be")
    assert second.artifacts[0].key in check["found"]
    sweep_site.write_artifact(second, "jitter.png")
    assert sweep_site.run_doctor()["artifacts"]["found"] == "2 listed, all there"


def test_only_leftovers_of_earlier_attempts_are_swept(sweep_site: SweepSite) -> None:
    finished_run, pending_run = (
        create_finished_runs(0)[0],
        create_run(create_firing(NOON + 9 * SECOND)),
    )
    unknown_run = create_run(create_firing(NOON + 99 * SECOND))
    write_commits(
        sweep_site, create_commit(finished_run.firing, pending_run.firing, finished=(finished_run,))
    )
    kept_files = [
        sweep_site.write_artifact(finished_run, "jitter.png"),
        sweep_site.write_artifact(finished_run, "young.png", old=False),
        sweep_site.write_artifact(pending_run, "half.png"),
        sweep_site.write_artifact(unknown_run, "evidence.png"),
        write_old_file(sweep_site.data / "objects" / "README.txt"),
    ]
    orphan_file = sweep_site.write_artifact(finished_run, "first-attempt.png")
    draft_file = write_old_file(orphan_file.with_name("jitter.png#1"))
    assert "belong to no result" in sweep_site.run_command("doctor").out
    assert sweep_site.sweep() == [("artifact", "first-attempt.png"), ("draft", "jitter.png#1")]
    assert orphan_file.exists()
    assert sweep_site.sweep("--yes") == [
        ("artifact", "first-attempt.png"),
        ("draft", "jitter.png#1"),
    ]
    assert not orphan_file.exists()
    assert not draft_file.exists()
    assert all(path.exists() for path in kept_files)
    assert sweep_site.sweep() == []
    checks = [
        row for row in sweep_site.run_command("doctor", "--json").rows if row["what"] == "artifacts"
    ]
    assert "1 are of runs that this ledger does not know" in checks[-1]["found"]


def write_old_file(path: Path) -> Path:
    path.write_text("words")
    return make_old(path)


def test_unused_job_copies_are_swept(sweep_site: SweepSite) -> None:
    (run,) = create_finished_runs(0)
    with engine_in_thread(sweep_site.site, sweep_site.data):
        pass
    (used_copy,) = (sweep_site.data / "jobs").iterdir()
    write_commits(
        sweep_site, create_commit(run.firing, finished=(replace(run, job_digest="a" * 16),))
    )
    for name in ("a" * 16, "b" * 16):
        (sweep_site.data / "jobs" / name).mkdir()
        (sweep_site.data / "jobs" / name / "jobs.py").write_text("old")
    for folder in (sweep_site.data / "jobs").iterdir():
        make_old(folder)
    assert sweep_site.sweep("--yes") == [("job copy", "b" * 16)]
    names = {folder.name for folder in (sweep_site.data / "jobs").iterdir()}
    assert names == {used_copy.name, "a" * 16}


def test_with_a_running_engine_nothing_is_swept(sweep_site: SweepSite) -> None:
    with engine_in_thread(sweep_site.site, sweep_site.data):
        assert sweep_site.sweep() == []
        result = sweep_site.run_command("doctor", "--sweep", "--yes")
        assert result.status == 2
        assert "another engine works on the ledger" in result.err


def test_with_no_ledger_nothing_is_swept(sweep_site: SweepSite) -> None:
    artifact_path = sweep_site.write_artifact(create_finished_runs(0)[0], "evidence.png")
    result = sweep_site.run_command("doctor", "--sweep", "--yes")
    assert result.status == 2
    assert "no ledger" in result.err
    assert artifact_path.exists()


def test_sweeping_shrinks_the_ledger_and_keeps_its_rows(sweep_site: SweepSite) -> None:
    runs = create_finished_runs(*range(300))
    write_commits(sweep_site, create_commit(*(run.firing for run in runs), finished=tuple(runs)))
    before = (sweep_site.data / "ledger.db").stat().st_size
    assert sweep_site.run_command("doctor", "--sweep", "--yes").status == 0
    assert (sweep_site.data / "ledger.db").stat().st_size <= before
    assert len(sweep_site.run_command("query", "runs", "--json").rows) == 300


@pytest.mark.server
@pytest.mark.parametrize(
    ("limits", "state", "message"),
    [
        ("", "ok", "keeps 1500 messages and more"),
        ("max_queued_messages 1000\nmax_inflight_messages 20\n", "error", "keeps 1000 messages"),
    ],
)
def test_broker_that_drops_messages_while_disconnected_is_reported(
    sweep_site: SweepSite, tmp_path: Path, limits: str, state: str, message: str
) -> None:
    with run_mosquitto(tmp_path / "broker", limits) as server:
        source = f"{{mqtt: {{host: 127.0.0.1, port: {server.port}, topics: {{'a/#': 'a.{{1}}'}}}}}}"
        (sweep_site.site / "catcher.yaml").write_text(f"sources: {{night: {source}}}\n")
        rows = sweep_site.run_command("doctor", "--probe", "--json").rows
    (row,) = [row for row in rows if row["what"] == "broker night"]
    assert (row["state"], message in row["found"]) == (state, True)
    assert bool(row["hint"]) == (state == "error")


def test_unreachable_broker_is_reported(sweep_site: SweepSite) -> None:
    source = "{mqtt: {host: 127.0.0.1, port: 9, topics: {'a/#': 'a.{1}'}}}"
    (sweep_site.site / "catcher.yaml").write_text(f"sources: {{night: {source}}}\n")
    rows = sweep_site.run_command("doctor", "--probe", "--json").rows
    (row,) = [row for row in rows if row["what"] == "broker night"]
    assert row["state"] == "error"
    assert row["hint"] == "see that the broker runs"
