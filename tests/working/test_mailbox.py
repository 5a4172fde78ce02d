"""What happens to firings while an earlier run goes on, by policy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.rule import Overlap, OverlapKind
from catcher.working.mailbox import REPLACED, SKIPPED, Decision, Mailbox


def test_queue_runs_one_at_a_time_in_order() -> None:
    box = Mailbox(Overlap("queue"))
    assert box.offer("a") == Decision(start=("a",))
    assert box.offer("b") == Decision()
    assert box.offer("c") == Decision()
    assert box.done("a") == Decision(start=("b",))
    assert box.done("b") == Decision(start=("c",))
    assert (box.running, box.waiting, box.dropped) == (1, 0, 0)


def test_latest_keeps_the_newest_waiting() -> None:
    box = Mailbox(Overlap("latest"))
    box.offer("a")
    assert box.offer("b") == Decision()
    assert box.offer("c") == Decision(drop=(("b", REPLACED),))
    assert box.done("a") == Decision(start=("c",))
    assert box.dropped == 1


def test_skip_drops_while_one_runs() -> None:
    box = Mailbox(Overlap("skip"))
    box.offer("a")
    assert box.offer("b") == Decision(drop=(("b", SKIPPED),))
    assert box.done("a") == Decision()
    assert box.offer("c") == Decision(start=("c",))


def test_parallel_runs_so_many_at_once() -> None:
    box = Mailbox(Overlap("parallel", 2))
    assert [box.offer(name).start for name in "abc"] == [("a",), ("b",), ()]
    assert box.done("b") == Decision(start=("c",))


def test_what_is_there_already_is_not_taken_twice() -> None:
    box = Mailbox(Overlap("queue"))
    for name in "aabb":
        box.offer(name)
    assert (box.running, box.waiting) == (1, 1)


def test_an_edit_holds_for_those_that_wait() -> None:
    box = Mailbox(Overlap("queue"))
    for name in "abcd":
        box.offer(name)
    assert box.change(Overlap("parallel", 2)) == Decision(start=("b",))
    assert box.change(Overlap("latest")) == Decision(drop=(("c", REPLACED),))


@given(
    kind=st.sampled_from(["queue", "latest", "skip", "parallel"]),
    width=st.integers(1, 3),
    moves=st.lists(st.booleans(), max_size=60),
)
def test_every_run_is_started_once_waits_or_is_dropped(
    kind: OverlapKind, width: int, moves: list[bool]
) -> None:
    box, offered = Mailbox(Overlap(kind, width)), 0
    running: list[str] = []
    started: list[str] = []
    dropped: list[str] = []
    for offer in moves:
        if offer:
            decision = box.offer(f"{offered:03}")
            offered += 1
        elif running:
            decision = box.done(running.pop(0))
        else:
            continue
        started += decision.start
        running += decision.start
        dropped += [name for name, _ in decision.drop]
        assert box.running == len(running) <= (width if kind == "parallel" else 1)
        assert started == sorted(started)
        assert len(started) + len(dropped) + box.waiting == offered
        assert box.waiting == 0 or box.running > 0
    assert len({*started, *dropped}) == len(started) + len(dropped)
    assert kind in ("latest", "skip") or not dropped
