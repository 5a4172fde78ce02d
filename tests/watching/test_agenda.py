"""Whose turn is next, however often what falls due moves away."""

from __future__ import annotations

from random import Random

from catcher.watching import Network
from catcher.watching.agenda import Agenda
from tests.watching.playing import alert, at, level, merged, play, rule, stream, times, trigger


def test_the_earliest_comes_first_and_only_once() -> None:
    agenda, dues = Agenda(), {"a": 5, "b": 3}
    for name, due in dues.items():
        agenda.earlier(name, due)
        agenda.earlier(name, due)
    assert agenda.next(dues.get) == 3
    assert agenda.pop(dues.get, 10) == ("b", 3)
    assert agenda.pop(dues.get, 5) is None
    assert agenda.pop(dues.get, 6) == ("a", 5)
    assert agenda.next(dues.get) is None


def test_what_moved_away_is_found_where_it_went() -> None:
    agenda, dues = Agenda(), {"a": 5, "b": 6}
    for name, due in dues.items():
        agenda.earlier(name, due)
    dues["a"] = 8
    assert agenda.next(dues.get) == 6
    del dues["b"]
    assert agenda.next(dues.get) == 8
    agenda.earlier("a", 2)
    dues["a"] = 2
    assert agenda.pop(dues.get, 3) == ("a", 2)


def test_it_agrees_with_looking_at_every_rule() -> None:
    draw, agenda, dues = Random(4), Agenda(), dict[str, int]()
    for _ in range(5_000):
        name = draw.choice("abcde")
        if draw.random() < 0.2:
            dues.pop(name, None)
        else:
            dues[name] = draw.randrange(100)
            agenda.earlier(name, dues[name])
        assert agenda.next(dues.get) == min(dues.values(), default=None)


def test_a_place_for_each_rule_is_all_it_takes() -> None:
    """A stream that goes on moves every absence with each message."""
    topics = [f"topic-{number}" for number in range(5)]
    rules = [
        *(rule(trigger("absent", topic, hold="1m"), topic) for topic in topics),
        rule(trigger(when="speed > 1", hold="30s", by="speed"), "held"),
        rule(trigger(by="speed"), "judged", alert=alert(warning=level("speed > 1", "20s"))),
    ]
    streams = [stream(times(*[n % 3 for n in range(400)], step=0.1), topic) for topic in topics]
    network = Network(rules)
    for one in merged(*streams, stream(times(*[n % 7 for n in range(400)], step=0.1))):
        network.feed([one])
        network.advance({"efd": one.event.time})
        network.next_timer()
        assert len(network.agenda) <= 3 * len(rules)
    assert {one.rule for one in network.finish(at(200))} >= set(topics)


def test_absences_fire_once_in_their_order() -> None:
    rules = [rule(trigger("absent", name, hold=hold), name) for name, hold in
             (("a", "5s"), ("b", "3s"))]  # fmt: skip
    messages = merged(stream(times(1, 1, 1), "a"), stream(times(1, 1, 1, 1, 1), "b"))
    assert [(one.rule, one.time) for one in play(rules, messages, 20)] == [
        ("a", at(7)), ("b", at(7)),
    ]  # fmt: skip
