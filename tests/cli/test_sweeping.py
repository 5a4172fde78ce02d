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
from catcher.model.event import Arrived
from catcher.model.result import Encoded
from catcher.model.run import Run
from catcher.model.time import HOUR, SECOND
from catcher.stores.spool_files import SpoolFiles
from tests.cli.calling import Answer, call
from tests.servers import mosquitto
from tests.small_site import DOUBLING, engine_in_thread, write_site
from tests.stores.making import (
    NOON,
    alert_at,
    commit_of,
    done,
    event_at,
    firing_at,
    ledger_at,
    notice_of,
    pending,
)


@dataclass
class Place:
    """A site and its data folder."""

    site: Path
    data: Path

    def call(self, *arguments: str) -> Answer:
        return call(*arguments, "--site", self.site, "--data", self.data)

    def doctor(self) -> dict[str, dict[str, Any]]:
        return {row["what"]: row for row in self.call("doctor", "--json").rows}

    def swept(self, *more: str) -> list[tuple[str, str]]:
        rows = self.call("doctor", "--sweep", "--json", *more).rows
        return [(row["what"], Path(row["name"]).name) for row in rows]

    def keep(self, run: Run, name: str, *, old: bool = True) -> Path:
        """An object as a run keeps it."""
        path = self.data / "objects" / run.rule / "2023/07/28" / run.id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        return aged(path) if old else path


def aged(path: Path) -> Path:
    """As if it had been written two hours ago."""
    then = time.time() - 2 * HOUR / SECOND
    os.utime(path, (then, then))
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "data").mkdir()
    return Place(write_site(tmp_path / "site", DOUBLING), tmp_path / "data")


def fill(place: Place, *commits: Commit) -> None:
    async def write() -> None:
        async with ledger_at(place.data) as ledger:
            for commit in commits:
                await ledger.commit(commit)

    asyncio.run(write())


def finished(*times: int) -> Sequence[Run]:
    return [done(pending(firing_at(NOON + time * SECOND))) for time in times]


def test_what_waits_is_told_with_what_to_do(place: Place) -> None:
    alert = alert_at(NOON)
    fill(
        place,
        commit_of(firing_at(NOON), inbox=(Arrived(event_at(NOON), NOON),), alerts=(alert,)),
        Commit(notices=(notice_of(alert),)),
    )
    files = SpoolFiles(place.data / "spool" / "objects")
    files.load()
    files.write("r/2023/07/28/aaaaaaaaaaaa/a.txt", Encoded("a.txt", b"a", "text/plain"), NOON)
    found = place.doctor()
    assert found["inbox"]["found"].startswith("1 events that no saved state covers yet, the oldest")
    assert found["runs"]["found"].startswith("1 runs that wait")
    assert found["outbox"]["found"].startswith("1 notices that are not delivered yet")
    assert found["spool"]["found"].startswith("1 artifacts wait for their store")
    assert all(found[what]["state"] == "warning" for what in ("inbox", "runs", "outbox", "spool"))
    assert all(found[what]["hint"] for what in ("inbox", "runs", "outbox", "spool"))


def test_artifacts_that_are_not_there_are_named(place: Place) -> None:
    first, second = finished(0, 1)
    fill(place, commit_of(first.firing, second.firing, finished=(first, second)))
    place.keep(first, "jitter.png")
    found = place.doctor()["artifacts"]
    assert found["state"] == "error"
    assert found["found"].startswith("1 of 2 are not where they should be")
    assert second.artifacts[0].key in found["found"]
    place.keep(second, "jitter.png")
    assert place.doctor()["artifacts"]["found"] == "2 listed, all there"


def test_only_what_an_earlier_attempt_left_is_swept(place: Place) -> None:
    over, waiting = finished(0)[0], pending(firing_at(NOON + 9 * SECOND))
    stranger = pending(firing_at(NOON + 99 * SECOND))
    fill(place, commit_of(over.firing, waiting.firing, finished=(over,)))
    kept = [
        place.keep(over, "jitter.png"),
        place.keep(over, "young.png", old=False),
        place.keep(waiting, "half.png"),
        place.keep(stranger, "evidence.png"),
        aged_file(place.data / "objects" / "README.txt"),
    ]
    orphan = place.keep(over, "first-attempt.png")
    draft = aged_file(orphan.with_name("jitter.png#1"))
    assert "belong to no result" in place.call("doctor").out
    assert place.swept() == [("artifact", "first-attempt.png"), ("draft", "jitter.png#1")]
    assert orphan.exists()
    assert place.swept("--yes") == [("artifact", "first-attempt.png"), ("draft", "jitter.png#1")]
    assert not orphan.exists()
    assert not draft.exists()
    assert all(path.exists() for path in kept)
    assert place.swept() == []
    found = [row for row in place.call("doctor", "--json").rows if row["what"] == "artifacts"]
    assert "1 are of runs that this ledger does not know" in found[-1]["found"]


def aged_file(path: Path) -> Path:
    path.write_text("words")
    return aged(path)


def test_copies_of_jobs_go_when_neither_the_site_nor_a_run_needs_them(place: Place) -> None:
    (run,) = finished(0)
    with engine_in_thread(place.site, place.data):
        pass
    (used,) = (place.data / "jobs").iterdir()
    fill(place, commit_of(run.firing, finished=(replace(run, job_digest="a" * 16),)))
    for name in ("a" * 16, "b" * 16):
        (place.data / "jobs" / name).mkdir()
        (place.data / "jobs" / name / "jobs.py").write_text("old")
    for folder in (place.data / "jobs").iterdir():
        aged(folder)
    assert place.swept("--yes") == [("job copy", "b" * 16)]
    names = {folder.name for folder in (place.data / "jobs").iterdir()}
    assert names == {used.name, "a" * 16}


def test_beside_a_running_engine_nothing_is_swept(place: Place) -> None:
    with engine_in_thread(place.site, place.data):
        assert place.swept() == []
        found = place.call("doctor", "--sweep", "--yes")
        assert found.status == 2
        assert "another engine works on the ledger" in found.err


def test_with_no_ledger_nothing_is_swept(place: Place) -> None:
    stranger = place.keep(finished(0)[0], "evidence.png")
    found = place.call("doctor", "--sweep", "--yes")
    assert found.status == 2
    assert "no ledger" in found.err
    assert stranger.exists()


def test_a_swept_ledger_gives_back_its_room_and_keeps_everything_else(place: Place) -> None:
    runs = finished(*range(300))
    fill(place, commit_of(*(run.firing for run in runs), finished=tuple(runs)))
    before = (place.data / "ledger.db").stat().st_size
    assert place.call("doctor", "--sweep", "--yes").status == 0
    assert (place.data / "ledger.db").stat().st_size <= before
    assert len(place.call("query", "runs", "--json").rows) == 300


@pytest.mark.server
@pytest.mark.parametrize(
    ("limits", "state", "words"),
    [
        ("", "ok", "keeps 1500 messages and more"),
        ("max_queued_messages 1000\nmax_inflight_messages 20\n", "error", "keeps 1000 messages"),
    ],
)
def test_a_broker_that_drops_what_comes_while_we_are_away_is_found_out(
    place: Place, tmp_path: Path, limits: str, state: str, words: str
) -> None:
    with mosquitto(tmp_path / "broker", limits) as server:
        source = f"{{mqtt: {{host: 127.0.0.1, port: {server.port}, topics: {{'a/#': 'a.{{1}}'}}}}}}"
        (place.site / "catcher.yaml").write_text(f"sources: {{night: {source}}}\n")
        rows = place.call("doctor", "--probe", "--json").rows
    (row,) = [row for row in rows if row["what"] == "broker night"]
    assert (row["state"], words in row["found"]) == (state, True)
    assert bool(row["hint"]) == (state == "error")


def test_a_broker_that_is_not_there_is_told(place: Place) -> None:
    source = "{mqtt: {host: 127.0.0.1, port: 9, topics: {'a/#': 'a.{1}'}}}"
    (place.site / "catcher.yaml").write_text(f"sources: {{night: {source}}}\n")
    rows = place.call("doctor", "--probe", "--json").rows
    (row,) = [row for row in rows if row["what"] == "broker night"]
    assert row["state"] == "error"
    assert row["hint"] == "see that the broker runs"
