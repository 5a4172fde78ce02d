"""What a step came to, and who waits for it to be kept."""

from __future__ import annotations

from dataclasses import replace

from catcher.model.event import Arrived, Event
from catcher.model.run import Firing, Run
from catcher.steps import Decided

WHOLE = Run("a1", Firing("images", "", 5, "cause", "it came"), "measure", "done")
PART = replace(WHOLE, id="a1.R22", part="R22", parent="a1")


def test_finished_parts_alone_are_waited_for_by_nobody() -> None:
    assert Decided(finished=[PART, PART]).only_parts
    assert not Decided().only_parts
    assert not Decided(finished=[PART, WHOLE]).only_parts
    assert not Decided(finished=[PART], runs=[WHOLE]).only_parts
    assert not Decided(finished=[PART], positions={"efd": "7"}).only_parts
    assert not Decided(finished=[PART], inbox=[Arrived(Event("a", 1, {}), 1)]).only_parts


def test_triggers_states_go_with_what_they_decided_and_with_whole_runs() -> None:
    assert Decided(finished=[WHOLE]).tells
    assert Decided(firings=[WHOLE.firing]).tells
    assert not Decided(finished=[PART]).tells
    assert not Decided(runs=[WHOLE]).tells


def test_what_is_left_to_keep_is_not_empty() -> None:
    assert Decided().empty
    assert Decided(reached={"efd": "7"}).empty
    assert not Decided(positions={"efd": "7"}).empty
    assert not Decided(forgotten=["hot"]).empty
    assert not Decided(finished=[PART]).empty
