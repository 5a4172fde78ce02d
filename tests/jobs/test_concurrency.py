"""What happens to firings while an earlier run goes on, by policy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catcher.jobs.concurrency import (
    REASON_REPLACED,
    REASON_STILL_RUNNING,
    ConcurrencyQueue,
    QueueDecision,
)
from catcher.model.rule import OverlapKind, OverlapPolicy


def test_queue_runs_one_at_a_time_in_order() -> None:
    queue = ConcurrencyQueue(OverlapPolicy("queue"))
    assert queue.enqueue("a") == QueueDecision(start=("a",))
    assert queue.enqueue("b") == QueueDecision()
    assert queue.enqueue("c") == QueueDecision()
    assert queue.mark_done("a") == QueueDecision(start=("b",))
    assert queue.mark_done("b") == QueueDecision(start=("c",))
    assert (queue.running_count, queue.waiting_count, queue.dropped_count) == (1, 0, 0)


def test_latest_keeps_the_newest_waiting() -> None:
    queue = ConcurrencyQueue(OverlapPolicy("latest"))
    queue.enqueue("a")
    assert queue.enqueue("b") == QueueDecision()
    assert queue.enqueue("c") == QueueDecision(drop=(("b", REASON_REPLACED),))
    assert queue.mark_done("a") == QueueDecision(start=("c",))
    assert queue.dropped_count == 1


def test_skip_drops_while_one_runs() -> None:
    queue = ConcurrencyQueue(OverlapPolicy("skip"))
    queue.enqueue("a")
    assert queue.enqueue("b") == QueueDecision(drop=(("b", REASON_STILL_RUNNING),))
    assert queue.mark_done("a") == QueueDecision()
    assert queue.enqueue("c") == QueueDecision(start=("c",))


def test_parallel_runs_so_many_at_once() -> None:
    queue = ConcurrencyQueue(OverlapPolicy("parallel", 2))
    assert [queue.enqueue(name).start for name in "abc"] == [("a",), ("b",), ()]
    assert queue.mark_done("b") == QueueDecision(start=("c",))


def test_what_is_queued_already_is_not_queued_twice() -> None:
    queue = ConcurrencyQueue(OverlapPolicy("queue"))
    for name in "aabb":
        queue.enqueue(name)
    assert (queue.running_count, queue.waiting_count) == (1, 1)


def test_a_policy_change_applies_to_those_that_wait() -> None:
    queue = ConcurrencyQueue(OverlapPolicy("queue"))
    for name in "abcd":
        queue.enqueue(name)
    assert queue.set_overlap(OverlapPolicy("parallel", 2)) == QueueDecision(start=("b",))
    assert queue.set_overlap(OverlapPolicy("latest")) == QueueDecision(
        drop=(("c", REASON_REPLACED),)
    )


@given(
    kind=st.sampled_from(["queue", "latest", "skip", "parallel"]),
    width=st.integers(1, 3),
    moves=st.lists(st.booleans(), max_size=60),
)
def test_every_run_is_started_once_waits_or_is_dropped(
    kind: OverlapKind, width: int, moves: list[bool]
) -> None:
    queue, offer_count = ConcurrencyQueue(OverlapPolicy(kind, width)), 0
    running: list[str] = []
    started: list[str] = []
    dropped: list[str] = []
    for offer in moves:
        if offer:
            decision = queue.enqueue(f"{offer_count:03}")
            offer_count += 1
        elif running:
            decision = queue.mark_done(running.pop(0))
        else:
            continue
        started += decision.start
        running += decision.start
        dropped += [name for name, _ in decision.drop]
        assert queue.running_count == len(running) <= (width if kind == "parallel" else 1)
        assert started == sorted(started)
        assert len(started) + len(dropped) + queue.waiting_count == offer_count
        assert queue.waiting_count == 0 or queue.running_count > 0
    assert len({*started, *dropped}) == len(started) + len(dropped)
    assert kind in ("latest", "skip") or not dropped
