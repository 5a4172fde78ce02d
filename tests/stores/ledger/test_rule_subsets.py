"""Several engines on one ledger: portions by tag, and engines that share one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest

from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.event import ReceivedEvent
from catcher.model.rule_subset import ALL_RULES, RuleSubset, parse_subset_from_lease
from catcher.ports import Fenced
from catcher.stores.ledger.ledger import SqlLedger
from tests.stores.factories import (
    NOON,
    FakeClock,
    create_commit,
    create_event,
    create_firing,
    create_run,
    list_ids,
    wait_until,
)

WIND, MOUNT, REMAINING = (
    RuleSubset(("wind",)),
    RuleSubset(("mount",)),
    RuleSubset((), ("mount", "wind")),
)
IMAGES = RuleSubset(("images",), shared=True)


def open_engine_ledger(url: str, name: str, subset: RuleSubset) -> SqlLedger:
    return SqlLedger(url, name, FakeClock(), rule_subset=subset)


def expire_lease(url: str, name: str) -> None:
    """An engine is not heard of any more: its lease runs out."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE leases SET expires = 0 WHERE holder = %s", (name,))


@pytest.mark.parametrize(
    ("first", "second", "disjoint"),
    [
        (ALL_RULES, ALL_RULES, False),
        (ALL_RULES, WIND, False),
        (ALL_RULES, IMAGES, False),
        (WIND, WIND, False),
        (WIND, MOUNT, True),
        (WIND, RuleSubset(("mount", "wind")), False),
        (WIND, REMAINING, True),
        (RuleSubset(("dome",)), REMAINING, False),
        (REMAINING, REMAINING, False),
        (IMAGES, IMAGES, True),
        (IMAGES, RuleSubset(("images",)), False),
        (IMAGES, WIND, True),
        (IMAGES, RuleSubset(("images", "wind"), shared=True), False),
        (IMAGES, RuleSubset((), ("images",)), True),
    ],
)
def test_which_subsets_are_compatible(
    first: RuleSubset, second: RuleSubset, disjoint: bool
) -> None:
    assert first.conflicts_with(second) is not disjoint
    assert second.conflicts_with(first) is not disjoint
    assert parse_subset_from_lease(first.build_lease_name("host-1")) == first


def test_a_rule_belongs_to_a_subset_by_its_tags() -> None:
    assert ALL_RULES.includes_rule_with_tags(()) and ALL_RULES.includes_rule_with_tags(("wind",))
    assert WIND.includes_rule_with_tags(("a", "wind")) and not WIND.includes_rule_with_tags(
        ("mount",)
    )
    assert REMAINING.includes_rule_with_tags(()) and not REMAINING.includes_rule_with_tags(
        ("a", "mount")
    )


@pytest.mark.server
async def test_subsets_run_side_by_side_and_are_isolated(postgres_url: str) -> None:
    event = create_event(NOON, imageName="a")
    async with (
        open_engine_ledger(postgres_url, "one", WIND) as wind,
        open_engine_ledger(postgres_url, "two", MOUNT) as mount,
    ):
        for ledger in (wind, mount):
            await ledger.commit(
                Commit(
                    inbox=(ReceivedEvent(event, NOON),), positions={"efd": ledger.rule_subset.name}
                )
            )
        await wind.commit(Commit(covers_inbox=True))
        assert await wind.list_uncheckpointed_events(0, 10) == []
        ((_, received),) = await mount.list_uncheckpointed_events(0, 10)
        assert received.event == event
        assert await wind.get_source_positions() == {"efd": "+wind"}
        assert await mount.get_source_positions() == {"efd": "+mount"}
        with pytest.raises(CatcherError, match="the engine one works on this ledger"):
            async with open_engine_ledger(postgres_url, "three", RuleSubset(("dome", "wind"))):
                pass
        with pytest.raises(CatcherError, match="works on this ledger"):
            async with open_engine_ledger(postgres_url, "four", ALL_RULES):
                pass
    async with open_engine_ledger(postgres_url, "five", ALL_RULES) as all_rules:
        assert await all_rules.get_source_positions() == {}
        with pytest.raises(CatcherError, match="the engine five works"):
            async with open_engine_ledger(postgres_url, "six", WIND):
                pass


@pytest.mark.server
async def test_each_subset_has_its_own_standby(postgres_url: str) -> None:
    messages: list[str] = []
    standby = SqlLedger(
        postgres_url, "two", FakeClock(), on_standby=messages.append, rule_subset=WIND
    )
    async with (
        open_engine_ledger(postgres_url, "three", MOUNT),
        open_engine_ledger(postgres_url, "one", WIND) as first,
    ):
        standby_task = asyncio.create_task(standby.__aenter__())
        await wait_until(lambda: messages)
        assert messages == ["standing by for one"]
        expire_lease(postgres_url, "one")
        async with asyncio.timeout(10):
            await standby_task
        with pytest.raises(Fenced):
            await first.commit(create_commit(create_firing(NOON)))
        await standby.commit(create_commit(create_firing(NOON + 1)))
    await standby.__aexit__(None, None, None)


@pytest.mark.server
async def test_a_sharing_engine_adopts_what_another_left_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "catcher.stores.ledger.leader_election.nanoseconds_to_seconds", lambda span: 0.0
    )
    firings = [create_firing(NOON + number) for number in range(3)]
    rules = {firing.rule for firing in firings}
    async with (
        open_engine_ledger(postgres_url, "one", IMAGES) as firing,
        open_engine_ledger(postgres_url, "two", IMAGES) as second,
        open_engine_ledger(postgres_url, "three", IMAGES) as third,
    ):
        await firing.commit(create_commit(*firings))
        assert await firing.claim_run(replace(create_run(firings[0]), engine="one"))
        assert await second.list_unfinished_runs() == []
        assert await second.take_over_runs(rules) == []
        expire_lease(postgres_url, "one")
        adopted = await asyncio.gather(second.take_over_runs(rules), third.take_over_runs(rules))
        adopted_runs = [run for runs in adopted for run in runs]
        assert sorted(list_ids(adopted_runs)) == sorted(firing.id for firing in firings)
        assert {run.state for run in adopted_runs} == {"pending"}
        adopter = second if adopted[0] else third
        assert await adopter.claim_run(replace(adopted_runs[0], engine="new"))
        # Who was taken for dead cannot write any more, and ends.
        with pytest.raises(Fenced):
            await firing.commit(create_commit(create_firing(NOON + 9)))
        assert await second.take_over_runs(rules) == [] == await third.take_over_runs(rules)


@pytest.mark.server
async def test_an_event_received_by_two_sharing_engines_leads_to_one_run(postgres_url: str) -> None:
    firing, event = create_firing(NOON), create_event(NOON, imageName="a")
    async with (
        open_engine_ledger(postgres_url, "one", IMAGES) as first_ledger,
        open_engine_ledger(postgres_url, "two", IMAGES) as second_ledger,
    ):
        commit = replace(create_commit(firing), inbox=(ReceivedEvent(event, NOON),))
        first, second = await asyncio.gather(
            first_ledger.commit(commit), second_ledger.commit(commit)
        )
        assert len([*first.runs, *second.runs]) == 1
        assert len([*first.inbox, *second.inbox]) == 1
        # What it led to was kept with it, so that nobody has to take it up again.
        assert await first_ledger.list_uncheckpointed_events(0, 10) == []


@pytest.mark.server
async def test_a_graceful_end_leaves_its_runs_to_the_others_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "catcher.stores.ledger.leader_election.nanoseconds_to_seconds", lambda span: 0.0
    )
    async with open_engine_ledger(postgres_url, "two", IMAGES) as second:
        async with open_engine_ledger(postgres_url, "one", IMAGES) as first:
            await first.commit(create_commit(create_firing(NOON)))
        assert list_ids(await second.take_over_runs({create_firing(NOON).rule})) == [
            create_firing(NOON).id
        ]


@pytest.mark.server
async def test_what_an_engine_of_all_rules_left_is_adopted_by_sharing_engines(
    postgres_url: str,
) -> None:
    async with open_engine_ledger(postgres_url, "old", ALL_RULES) as old:
        await old.commit(create_commit(create_firing(NOON)))
    async with open_engine_ledger(postgres_url, "new", IMAGES) as new:
        assert await new.take_over_runs(()) == []
    async with open_engine_ledger(postgres_url, "newer", IMAGES) as new:
        await wait_until(
            lambda: new._lease_keeper is not None and new._lease_keeper.is_grace_period_over
        )
        assert list_ids(await new.take_over_runs({create_firing(NOON).rule})) == [
            create_firing(NOON).id
        ]


async def test_a_ledger_in_a_file_is_for_one_engine(tmp_path: object) -> None:
    with pytest.raises(CatcherError, match="held by one engine"):
        async with open_engine_ledger(f"sqlite:///{tmp_path}/ledger.db", "one", WIND):
            pass
