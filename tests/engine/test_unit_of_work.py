"""What a step came to, and who waits for it to be kept."""

from __future__ import annotations

from dataclasses import replace

from catcher.engine.unit_of_work import UnitOfWork
from catcher.model.event import Event, ReceivedEvent
from catcher.model.run import Firing, Run

PARENT_RUN = Run("a1", Firing("images", "", 5, "cause", "it came"), "measure", "done")
SHARD_RUN = replace(PARENT_RUN, id="a1.R22", part="R22", parent="a1")


def test_finished_shards_alone_need_no_wait() -> None:
    assert UnitOfWork(finished=[SHARD_RUN, SHARD_RUN]).has_only_finished_parts
    assert not UnitOfWork().has_only_finished_parts
    assert not UnitOfWork(finished=[SHARD_RUN, PARENT_RUN]).has_only_finished_parts
    assert not UnitOfWork(finished=[SHARD_RUN], runs=[PARENT_RUN]).has_only_finished_parts
    assert not UnitOfWork(finished=[SHARD_RUN], positions={"efd": "7"}).has_only_finished_parts
    assert not UnitOfWork(
        finished=[SHARD_RUN], inbox=[ReceivedEvent(Event("a", 1, {}), 1)]
    ).has_only_finished_parts


def test_trigger_states_are_saved_with_firings_and_parent_runs() -> None:
    assert UnitOfWork(finished=[PARENT_RUN]).has_decisions
    assert UnitOfWork(firings=[PARENT_RUN.firing]).has_decisions
    assert not UnitOfWork(finished=[SHARD_RUN]).has_decisions
    assert not UnitOfWork(runs=[PARENT_RUN]).has_decisions


def test_unit_with_changes_is_not_empty() -> None:
    assert UnitOfWork().is_empty
    assert UnitOfWork(state_positions={"efd": "7"}).is_empty
    assert not UnitOfWork(positions={"efd": "7"}).is_empty
    assert not UnitOfWork(removed_rules=["hot"]).is_empty
    assert not UnitOfWork(finished=[SHARD_RUN]).is_empty
