"""Several engines on one ledger: portions by tag, and engines that share one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest

from catcher.model.commit import Commit
from catcher.model.event import Arrived
from catcher.model.portion import WHOLE, Portion, portion_of
from catcher.model.problem import CatcherError
from catcher.ports import Fenced
from catcher.stores.ledger import SqlLedger
from tests.stores.making import NOON, FakeClock, commit_of, event_at, firing_at, ids, pending, until

WIND, MOUNT, REST = Portion(("wind",)), Portion(("mount",)), Portion((), ("mount", "wind"))
IMAGES = Portion(("images",), shared=True)


def engine(url: str, name: str, portion: Portion) -> SqlLedger:
    return SqlLedger(url, name, FakeClock(), portion=portion)


def left(url: str, name: str) -> None:
    """An engine is not heard of any more: its lease runs out."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE leases SET expires = 0 WHERE holder = %s", (name,))


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (WHOLE, WHOLE, False),
        (WHOLE, WIND, False),
        (WHOLE, IMAGES, False),
        (WIND, WIND, False),
        (WIND, MOUNT, True),
        (WIND, Portion(("mount", "wind")), False),
        (WIND, REST, True),
        (Portion(("dome",)), REST, False),
        (REST, REST, False),
        (IMAGES, IMAGES, True),
        (IMAGES, Portion(("images",)), False),
        (IMAGES, WIND, True),
        (IMAGES, Portion(("images", "wind"), shared=True), False),
        (IMAGES, Portion((), ("images",)), True),
    ],
)
def test_which_portions_go_together(one: Portion, other: Portion, apart: bool) -> None:
    assert one.excludes(other) is not apart
    assert other.excludes(one) is not apart
    assert portion_of(one.lease("host-1")) == one


def test_a_rule_belongs_to_a_portion_by_its_tags() -> None:
    assert WHOLE.carries(()) and WHOLE.carries(("wind",))
    assert WIND.carries(("a", "wind")) and not WIND.carries(("mount",))
    assert REST.carries(()) and not REST.carries(("a", "mount"))


@pytest.mark.server
async def test_portions_work_side_by_side_and_know_nothing_of_each_other(postgres_url: str) -> None:
    heard = event_at(NOON, imageName="a")
    async with (
        engine(postgres_url, "one", WIND) as wind,
        engine(postgres_url, "two", MOUNT) as mount,
    ):
        for ledger in (wind, mount):
            await ledger.commit(
                Commit(inbox=(Arrived(heard, NOON),), positions={"efd": ledger.portion.name})
            )
        await wind.commit(Commit(covers=True))
        assert await wind.uncovered(0, 10) == []
        ((_, arrived),) = await mount.uncovered(0, 10)
        assert arrived.event == heard
        assert await wind.positions() == {"efd": "+wind"}
        assert await mount.positions() == {"efd": "+mount"}
        with pytest.raises(CatcherError, match="the engine one works on this ledger"):
            async with engine(postgres_url, "three", Portion(("dome", "wind"))):
                pass
        with pytest.raises(CatcherError, match="works on this ledger"):
            async with engine(postgres_url, "four", WHOLE):
                pass
    async with engine(postgres_url, "five", WHOLE) as whole:
        assert await whole.positions() == {}
        with pytest.raises(CatcherError, match="the engine five works"):
            async with engine(postgres_url, "six", WIND):
                pass


@pytest.mark.server
async def test_each_portion_has_its_own_standby(postgres_url: str) -> None:
    told: list[str] = []
    standby = SqlLedger(postgres_url, "two", FakeClock(), told=told.append, portion=WIND)
    async with engine(postgres_url, "three", MOUNT), engine(postgres_url, "one", WIND) as one:
        waiting = asyncio.create_task(standby.__aenter__())
        await until(lambda: told)
        assert told == ["standing by for one"]
        left(postgres_url, "one")
        async with asyncio.timeout(10):
            await waiting
        with pytest.raises(Fenced):
            await one.commit(commit_of(firing_at(NOON)))
        await standby.commit(commit_of(firing_at(NOON + 1)))
    await standby.__aexit__(None, None, None)


@pytest.mark.server
async def test_an_engine_that_shares_takes_over_what_another_left_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.stores.ledger_tenure.to_seconds", lambda span: 0.0)
    firings = [firing_at(NOON + number) for number in range(3)]
    rules = {one.rule for one in firings}
    async with (
        engine(postgres_url, "one", IMAGES) as one,
        engine(postgres_url, "two", IMAGES) as two,
        engine(postgres_url, "three", IMAGES) as three,
    ):
        await one.commit(commit_of(*firings))
        assert await one.claim(replace(pending(firings[0]), engine="one"))
        assert await two.unfinished() == []
        assert await two.adopt(rules) == []
        left(postgres_url, "one")
        found = await asyncio.gather(two.adopt(rules), three.adopt(rules))
        taken = [run for runs in found for run in runs]
        assert sorted(ids(taken)) == sorted(one.id for one in firings)
        assert {run.state for run in taken} == {"pending"}
        adopter = two if found[0] else three
        assert await adopter.claim(replace(taken[0], engine="new"))
        # Who was taken for dead cannot write any more, and ends.
        with pytest.raises(Fenced):
            await one.commit(commit_of(firing_at(NOON + 9)))
        assert await two.adopt(rules) == [] == await three.adopt(rules)


@pytest.mark.server
async def test_what_comes_to_two_that_share_leads_to_one_run(postgres_url: str) -> None:
    firing, heard = firing_at(NOON), event_at(NOON, imageName="a")
    async with (
        engine(postgres_url, "one", IMAGES) as one,
        engine(postgres_url, "two", IMAGES) as two,
    ):
        whole = replace(commit_of(firing), inbox=(Arrived(heard, NOON),))
        first, second = await asyncio.gather(one.commit(whole), two.commit(whole))
        assert len([*first.runs, *second.runs]) == 1
        assert len([*first.inbox, *second.inbox]) == 1
        # What it led to was kept with it, so that nobody has to take it up again.
        assert await one.uncovered(0, 10) == []


@pytest.mark.server
async def test_a_graceful_end_leaves_its_runs_to_the_others_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.stores.ledger_tenure.to_seconds", lambda span: 0.0)
    async with engine(postgres_url, "two", IMAGES) as two:
        async with engine(postgres_url, "one", IMAGES) as one:
            await one.commit(commit_of(firing_at(NOON)))
        assert ids(await two.adopt({firing_at(NOON).rule})) == [firing_at(NOON).id]


@pytest.mark.server
async def test_what_an_engine_of_all_rules_left_is_taken_up_by_those_that_share(
    postgres_url: str,
) -> None:
    async with engine(postgres_url, "old", WHOLE) as old:
        await old.commit(commit_of(firing_at(NOON)))
    async with engine(postgres_url, "new", IMAGES) as new:
        assert await new.adopt(()) == []
    async with engine(postgres_url, "newer", IMAGES) as new:
        await until(lambda: new._tenure is not None and new._tenure.steady)
        assert ids(await new.adopt({firing_at(NOON).rule})) == [firing_at(NOON).id]


async def test_a_ledger_in_a_file_is_for_one_engine(tmp_path: object) -> None:
    with pytest.raises(CatcherError, match="held by one engine"):
        async with engine(f"sqlite:///{tmp_path}/ledger.db", "one", WIND):
            pass
