"""Whose turn is next, however often what falls due moves away."""

from __future__ import annotations

from random import Random

from catcher.evaluation import RuleEvaluator
from catcher.evaluation.timers import RuleTimerQueue
from tests.evaluation.rule_builders import (
    create_alert,
    create_level,
    create_rule,
    create_samples,
    create_stream,
    create_trigger,
    merge_streams,
    run_rules,
    to_instant,
)


def test_the_earliest_comes_first_and_only_once() -> None:
    queue, due_times = RuleTimerQueue(), {"a": 5, "b": 3}
    for name, due in due_times.items():
        queue.schedule(name, due)
        queue.schedule(name, due)
    assert queue.find_next_due(due_times.get) == 3
    assert queue.pop_due(due_times.get, 10) == ("b", 3)
    assert queue.pop_due(due_times.get, 5) is None
    assert queue.pop_due(due_times.get, 6) == ("a", 5)
    assert queue.find_next_due(due_times.get) is None


def test_a_moved_due_time_is_found() -> None:
    queue, due_times = RuleTimerQueue(), {"a": 5, "b": 6}
    for name, due in due_times.items():
        queue.schedule(name, due)
    due_times["a"] = 8
    assert queue.find_next_due(due_times.get) == 6
    del due_times["b"]
    assert queue.find_next_due(due_times.get) == 8
    queue.schedule("a", 2)
    due_times["a"] = 2
    assert queue.pop_due(due_times.get, 3) == ("a", 2)


def test_it_agrees_with_a_scan_of_every_rule() -> None:
    draw, queue, due_times = Random(4), RuleTimerQueue(), dict[str, int]()
    for _ in range(5_000):
        name = draw.choice("abcde")
        if draw.random() < 0.2:
            due_times.pop(name, None)
        else:
            due_times[name] = draw.randrange(100)
            queue.schedule(name, due_times[name])
        assert queue.find_next_due(due_times.get) == min(due_times.values(), default=None)


def test_a_few_entries_per_rule_are_enough() -> None:
    """A stream that goes on moves every absence with each message."""
    topics = [f"topic-{number}" for number in range(5)]
    rules = [
        *(create_rule(create_trigger("absent", topic, hold="1m"), topic) for topic in topics),
        create_rule(create_trigger(when="speed > 1", hold="30s", by="speed"), "held"),
        create_rule(
            create_trigger(by="speed"),
            "judged",
            alert=create_alert(warning=create_level("speed > 1", "20s")),
        ),
    ]
    streams = [
        create_stream(create_samples(*[number % 3 for number in range(400)], step=0.1), topic)
        for topic in topics
    ]
    evaluator = RuleEvaluator(rules)
    for decision in merge_streams(
        *streams, create_stream(create_samples(*[number % 7 for number in range(400)], step=0.1))
    ):
        evaluator.process_events([decision])
        evaluator.advance_watermarks({"efd": decision.event.time})
        evaluator.next_timer_due()
        assert len(evaluator.timer_queue) <= 3 * len(rules)
    assert {decision.rule for decision in evaluator.run_remaining_timers(to_instant(200))} >= set(
        topics
    )


def test_absences_fire_once_in_their_order() -> None:
    rules = [create_rule(create_trigger("absent", name, hold=hold), name) for name, hold in
             (("a", "5s"), ("b", "3s"))]  # fmt: skip
    events = merge_streams(
        create_stream(create_samples(1, 1, 1), "a"),
        create_stream(create_samples(1, 1, 1, 1, 1), "b"),
    )
    assert [(decision.rule, decision.time) for decision in run_rules(rules, events, 20)] == [
        ("a", to_instant(7)), ("b", to_instant(7)),
    ]  # fmt: skip
