"""Delivery: at least once, in order for each alert, and no sink waits for another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from catcher.alerting import Alerting, Changed, Courier, Patience, Route
from catcher.alerting.noise import Rate
from catcher.alerting.routing import HandOn
from catcher.model.alert import Alert, Notice, Severity
from catcher.model.commit import Commit
from catcher.model.health import Health
from catcher.model.time import HOUR, MILLISECOND, MINUTE, SECOND
from catcher.ports import Ledger, Query, Row, SinkError, StoreAway
from catcher.stores.ledger import SqlLedger
from tests.alerting.making import (
    CRITICAL,
    NOISY,
    NONE,
    SERIOUS,
    WARNING,
    alerting,
    change,
    later,
    rule,
)

QUICK = Patience(
    first=MILLISECOND, longest=4 * MILLISECOND, attempt=5 * SECOND, look=MILLISECOND,
    jitter=lambda: 0.5,
)  # fmt: skip


@dataclass
class Door:
    """A sink whose door can be shut, and that writes down what comes through."""

    name: str = "slack"
    shut: bool = False
    trouble: Callable[[Notice], None] = lambda notice: None
    came: list[Notice] = field(default_factory=list)
    tries: int = 0
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    knocked: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, notice: Notice) -> Row:
        self.tries += 1
        self.knocked.set()
        async with self.moved:
            self.moved.notify_all()
            if self.shut:
                raise SinkError("the door is shut")
            self.trouble(notice)
            self.came.append(notice)
        return {"ts": f"{notice.alert.episode}.{len(self.came)}"}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(condition)

    def health(self) -> Health:
        return Health(self.name, "door", "ok")

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(one.alert.key, one.kind) for one in self.came]


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = later(0)

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def ledger() -> AsyncIterator[SqlLedger]:
    async with SqlLedger("sqlite://", "engine") as opened:
        yield opened


class Desk:
    """Alerting, a ledger and a courier as the engine joins them."""

    def __init__(self, ledger: Ledger, courier: Courier, *sinks: str) -> None:
        self.ledger, self.courier = ledger, courier
        self.alerting: Alerting = alerting(rule(latch=CRITICAL, to=sinks), noise=NOISY)

    async def tell(self, severity: Severity, at: float = 0, key: str = "301") -> None:
        changed = self.alerting.apply(change(severity, at, key=key), later(at))
        commit = Commit(alerts=changed.alerts, notices=changed.notices, audit=changed.audit)
        self.courier.send((await self.ledger.commit(commit)).notices)


def courier(ledger: Ledger, *doors: Door, **more: object) -> Courier:
    clock = more.pop("clock", Clock())
    doors = (*doors, Door("console"))
    patience = more.pop("patience", QUICK)
    return Courier({one.name: one for one in doors}, ledger, clock=clock, patience=patience, **more)  # type: ignore[arg-type]


async def test_each_notice_arrives_once_and_in_order(ledger: SqlLedger) -> None:
    slack = Door()
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        for at, severity in enumerate((WARNING, SERIOUS, WARNING, NONE)):
            await desk.tell(severity, at)
        assert await post.drain(20 * SECOND)
    assert slack.story == [
        ("301", "opened"), ("301", "raised"), ("301", "lowered"), ("301", "resolved"),
    ]  # fmt: skip
    assert await ledger.undelivered() == []


async def test_the_receipt_comes_back_with_the_next_notice_of_the_alert(ledger: SqlLedger) -> None:
    slack = Door()
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        for at, severity in enumerate((WARNING, SERIOUS, NONE, WARNING)):
            await desk.tell(severity, at)
        assert await post.drain(20 * SECOND)
    receipts = [one.receipt.get("ts") for one in slack.came]
    assert receipts == [None, "1.1", "1.2", None], "a new episode is a new message"


async def test_a_receipt_outlasts_a_restart(ledger: SqlLedger) -> None:
    before, after = Door(), Door()
    async with courier(ledger, before) as post:
        desk = Desk(ledger, post, "slack")
        await desk.tell(WARNING)
        assert await post.drain(20 * SECOND)
    async with courier(ledger, after) as post:
        desk.courier = post
        await desk.tell(SERIOUS, 1)
        assert await post.drain(20 * SECOND)
    assert after.came[0].receipt == {"ts": "1.1"}


async def test_a_dead_sink_delays_no_other(ledger: SqlLedger) -> None:
    dead, fine = Door("dead", shut=True), Door("fine")
    async with courier(ledger, dead, fine) as post:
        desk = Desk(ledger, post, "dead", "fine")
        for key in range(20):
            await desk.tell(WARNING, key=str(key))
        await fine.until(lambda: len(fine.came) == 20)
        assert dead.came == []
        waiting = [one for one in await ledger.undelivered() if one.sink == "dead"]
        assert len(waiting) == 20
        assert {one.name: one.state for one in post.health()}["dead"] == "away"


async def test_a_sink_that_hangs_delays_no_other(ledger: SqlLedger) -> None:
    class Hanging(Door):
        async def deliver(self, notice: Notice) -> Row:
            self.knocked.set()
            await asyncio.Event().wait()
            return {}

    hangs, fine = Hanging("hangs"), Door("fine")
    async with courier(ledger, hangs, fine) as post:
        desk = Desk(ledger, post, "hangs", "fine")
        await desk.tell(WARNING)
        await hangs.knocked.wait()
        await desk.tell(SERIOUS, 1)
        await fine.until(lambda: len(fine.came) == 2)
        assert not await post.drain(MILLISECOND)


SLOW = Patience(
    first=3600 * SECOND, longest=3600 * SECOND, give_up=86400 * SECOND, jitter=lambda: 1
)


async def test_at_the_end_a_sink_that_fails_is_tried_once_more_and_then_left(
    ledger: SqlLedger,
) -> None:
    dead, fine = Door("dead", shut=True), Door("fine")
    async with courier(ledger, dead, fine, patience=SLOW) as post:
        desk = Desk(ledger, post, "dead", "fine")
        for key in ("a", "b"):
            await desk.tell(WARNING, key=key)
        await dead.knocked.wait()
        dead.knocked.clear()
        async with asyncio.timeout(20):
            assert not await post.leave(3600 * SECOND)
        assert dead.knocked.is_set(), "it was tried once more"
    assert sorted(one.alert.key for one in fine.came) == ["a", "b"]
    assert {one.sink for one in await ledger.undelivered()} == {"dead"}


async def test_at_the_end_a_sink_that_is_back_gets_what_waits(ledger: SqlLedger) -> None:
    slack = Door(shut=True)
    async with courier(ledger, slack, patience=SLOW) as post:
        desk = Desk(ledger, post, "slack")
        for key in ("a", "b"):
            await desk.tell(WARNING, key=key)
        await slack.knocked.wait()
        slack.shut = False
        async with asyncio.timeout(20):
            assert await post.leave(3600 * SECOND)
    assert await ledger.undelivered() == []


async def test_at_the_end_a_sink_that_asked_for_patience_is_not_tried(ledger: SqlLedger) -> None:
    class Limited(Door):
        async def deliver(self, notice: Notice) -> Row:
            self.knocked.set()
            self.came.append(notice)
            raise SinkError("too many requests", retry_after=3600 * SECOND)

    slack = Limited()
    async with courier(ledger, slack) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        await slack.knocked.wait()
        async with asyncio.timeout(20):
            assert not await post.leave(3600 * SECOND)
    assert len(slack.came) == 1


async def test_after_an_outage_a_sink_gets_the_present_state(ledger: SqlLedger) -> None:
    slack = Door(shut=True)
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        for key in ("a", "b"):
            for at, severity in enumerate((WARNING, SERIOUS, CRITICAL, SERIOUS)):
                await desk.tell(severity, at, key)
        await slack.knocked.wait()
        slack.shut = False
        assert await post.drain(20 * SECOND)
        counts = {one.name: one.counts for one in post.health()}["slack"]
    last = {one.alert.key: one for one in slack.came}
    assert {key: one.alert.severity for key, one in last.items()} == {"a": SERIOUS, "b": SERIOUS}
    assert last["a"].previous == NONE, "as against what the sink knew"
    assert counts["superseded"] == 8 - len(slack.came) > 0
    assert counts["delivered"] == len(slack.came)
    assert await ledger.undelivered() == [], "what was skipped is settled too"


async def test_what_was_left_by_an_earlier_engine_arrives(ledger: SqlLedger) -> None:
    shut, opened = Door(shut=True), Door()
    async with courier(ledger, shut) as post:
        desk = Desk(ledger, post, "slack")
        await desk.tell(WARNING)
        await shut.knocked.wait()
    async with courier(ledger, opened) as post:
        post.send(await ledger.undelivered())
        assert await post.drain(20 * SECOND)
    assert opened.story == [("301", "opened")]


async def test_what_stands_for_several_is_as_loud_after_a_crash(ledger: SqlLedger) -> None:
    shut, opened = Door(shut=True), Door()
    async with courier(ledger, shut) as post:
        desk = Desk(ledger, post, "slack")
        for at, severity in enumerate((WARNING, CRITICAL, SERIOUS)):
            await desk.tell(severity, at)
        await shut.until(lambda: post.health()[0].counts["superseded"] == 2)
    async with courier(ledger, opened) as post:
        post.send(await ledger.undelivered())
        assert await post.drain(20 * SECOND)
    assert opened.story[0] == ("301", "opened"), "not a mere change of what it never heard of"
    assert opened.came[0].previous == NONE
    assert opened.came[-1].alert.severity == SERIOUS
    assert await ledger.undelivered() == []


async def test_a_pause_that_a_sink_asks_for_is_kept(ledger: SqlLedger) -> None:
    slack = Door()
    asked: list[float] = []

    def busy(notice: Notice) -> None:
        if not asked:
            asked.append(asyncio.get_running_loop().time())
            raise SinkError("slow down", retry_after=60 * MILLISECOND)

    slack.trouble = busy
    async with courier(ledger, slack) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        assert await post.drain(20 * SECOND)
        waited = asyncio.get_running_loop().time() - asked[0]
    assert slack.tries == 2 and waited >= 0.06


async def test_a_final_refusal_is_a_dead_letter_and_the_next_notice_goes_out(
    ledger: SqlLedger,
) -> None:
    def refuse(notice: Notice) -> None:
        if notice.alert.key == "bad":
            raise SinkError("invalid_blocks", final=True)

    slack = Door(trouble=refuse)
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        await desk.tell(WARNING, key="bad")
        await desk.tell(WARNING, key="good")
        assert await post.drain(20 * SECOND)
        counts = {one.name: one.counts for one in post.health()}["slack"]
    assert slack.story == [("good", "opened")]
    assert (counts["dead"], counts["failed"]) == (1, 1)
    dead = await ledger.dead_letters(Query())
    assert [(one.notice.alert.key, one.error) for one in dead] == [("bad", "invalid_blocks")]


async def test_one_bad_notice_does_not_stop_the_others(ledger: SqlLedger) -> None:
    def refuse(notice: Notice) -> None:
        if notice.alert.key == "bad":
            raise SinkError("internal error")

    slack = Door(trouble=refuse)
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        for key in ("bad", "a", "b"):
            await desk.tell(WARNING, key=key)
        await slack.until(lambda: len(slack.came) == 2)
    assert {key for key, _ in slack.story} == {"a", "b"}


async def test_a_notice_is_given_up_after_its_time(ledger: SqlLedger) -> None:
    slack, clock = Door(shut=True), Clock()
    async with courier(ledger, slack, clock=clock) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        await slack.knocked.wait()
        clock.now += 25 * HOUR
        assert await post.drain(20 * SECOND)
    assert len(await ledger.dead_letters(Query())) == 1


async def test_what_was_left_long_ago_is_tried_for_its_whole_time(ledger: SqlLedger) -> None:
    shut, door, clock = Door(shut=True), Door(shut=True), Clock()
    async with courier(ledger, shut, clock=clock) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        await shut.knocked.wait()
    clock.now += 50 * HOUR
    async with courier(ledger, door, clock=clock) as post:
        post.send(await ledger.undelivered())
        await door.until(lambda: door.tries > 2)
        door.shut = False
        assert await post.drain(20 * SECOND)
    assert door.story == [("301", "opened")]


async def test_a_sink_of_the_site_may_raise_anything(ledger: SqlLedger) -> None:
    raised: list[bool] = []

    def stumble(notice: Notice) -> None:
        if not raised:
            raised.append(True)
            raise KeyError("oops")

    slack = Door(trouble=stumble)
    async with courier(ledger, slack) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        assert await post.drain(20 * SECOND)
    assert slack.story == [("301", "opened")]


# -- standing in -------------------------------------------------------------------------------

FALLBACK = Route(to=("slack",), undelivered=HandOn(MINUTE, ("love",)))


class Night:
    """A desk whose Slack has LOVE for a stand-in, and what it makes of time, kept and sent."""

    def __init__(self, ledger: Ledger, clock: Clock, *doors: Door, alerts: Iterable[Alert] = ()):
        self.ledger, self.clock = ledger, clock
        self.desk = alerting(rule(latch=CRITICAL), route=FALLBACK, noise=NOISY, alerts=alerts)
        self.asked = asyncio.Event()
        self.post = courier(
            ledger, *doors, clock=clock, stand_in=self.desk.undelivered, missed=self._missed
        )

    def _missed(self, notice: Notice) -> bool:
        self.asked.set()
        return self.desk.missed(notice)

    async def stands_in(self) -> None:
        """A minute goes by, and what did not arrive is told to others."""
        self.asked.clear()
        self.clock.now += MINUTE
        async with asyncio.timeout(20):
            await self.asked.wait()
        await self.keep(self.desk.tick(self.clock.now))

    async def level(self, severity: Severity) -> None:
        at = (self.clock.now - later(0)) / SECOND
        await self.keep(self.desk.apply(change(severity, at), self.clock.now))

    async def keep(self, changed: Changed) -> None:
        commit = Commit(alerts=changed.alerts, notices=changed.notices, audit=changed.audit)
        self.post.send((await self.ledger.commit(commit)).notices)


async def test_who_stood_in_hears_how_it_ends_when_the_sink_is_back(ledger: SqlLedger) -> None:
    slack, love, clock = Door(shut=True), Door("love"), Clock()
    night = Night(ledger, clock, slack, love)
    async with night.post as post:
        await night.level(WARNING)
        await slack.until(lambda: slack.tries > 3)
        assert love.came == []
        await night.stands_in()
        await love.until(lambda: bool(love.came))
        slack.shut = False
        assert await post.drain(20 * SECOND)
        assert love.story == slack.story == [("301", "opened")]
        assert love.came[0].alert.sinks == ("slack", "love"), "LOVE resends what it was told of"
        clock.now += SECOND
        await night.level(SERIOUS)
        taken = night.desk.active()[0]
        await night.keep(night.desk.acknowledge(taken.id, SERIOUS, "ana", "", clock.now, "cli"))
        clock.now += SECOND
        await night.level(NONE)
        assert await post.drain(20 * SECOND)
        await night.keep(night.desk.tick(clock.now))
        await night.level(WARNING)
        assert await post.drain(20 * SECOND)
    ways = ["opened", "raised", "updated", "resolved"]
    assert [kind for _, kind in love.story] == ways, "the next alert goes the ordinary way"
    assert [kind for _, kind in slack.story] == [*ways, "opened"]
    assert await ledger.undelivered() == []
    told = [one.detail for one in await ledger.audit(Query()) if one.what == "stand-in"]
    assert [(one["sink"], one["to"]) for one in told] == [("slack", ["love"])]


async def test_who_stood_in_hears_how_it_ends_after_a_restart(ledger: SqlLedger) -> None:
    slack, love, clock = Door(shut=True), Door("love"), Clock()
    night = Night(ledger, clock, slack, love)
    async with night.post:
        await night.level(WARNING)
        await night.stands_in()
        await love.until(lambda: bool(love.came))
        assert not await night.post.leave(20 * SECOND), "Slack is away"
    kept = await ledger.alerts(Query(state="open"))
    night = Night(ledger, clock, slack, love, alerts=kept)
    async with night.post as post:
        post.send(await ledger.undelivered())
        await night.stands_in()
        assert len(love.came) == 1, "it was told already"
        slack.shut = False
        await night.level(NONE)
        assert await post.drain(20 * SECOND)
    assert love.story == [("301", "opened"), ("301", "resolved")]
    assert slack.story[-1] == ("301", "resolved")


async def test_one_that_changes_all_the_time_is_told_to_others_as_well(
    ledger: SqlLedger,
) -> None:
    slack, love, clock = Door(shut=True), Door("love"), Clock()
    night = Night(ledger, clock, slack, love)
    async with night.post:
        for severity in (WARNING, SERIOUS, CRITICAL):
            await night.level(severity)
            clock.now += 25 * SECOND
            tries = slack.tries
            await slack.until(lambda seen=tries: slack.tries > seen + 1)
        async with asyncio.timeout(20):
            await night.asked.wait()
        await night.keep(night.desk.tick(clock.now))
        await love.until(lambda: bool(love.came))
    (heard,) = love.came
    assert (heard.kind, heard.alert.severity, heard.previous) == ("opened", CRITICAL, NONE)


async def test_others_stand_in_at_once_for_what_was_refused_for_good(ledger: SqlLedger) -> None:
    def refuse(notice: Notice) -> None:
        raise SinkError("invalid_auth", final=True)

    slack, love = Door(trouble=refuse), Door("love")
    night = Night(ledger, Clock(), slack, love)
    async with night.post:
        await night.level(WARNING)
        async with asyncio.timeout(20):
            await night.asked.wait()
        await night.keep(night.desk.tick(night.clock.now))
        await love.until(lambda: bool(love.came))
    assert love.story == [("301", "opened")]


def test_a_message_about_many_is_told_to_others_to_its_end() -> None:
    group = replace(FALLBACK, group_by=("rule",), group_wait=SECOND)
    desk = alerting(rule(), route=group, noise=NOISY)
    for key in "ab":
        desk.apply(change(WARNING, key=key), later(0))
    (first,) = desk.tick(later(2)).notices
    assert desk.missed(first)
    stood = desk.tick(later(70))
    assert [(one.sink, one.kind) for one in stood.notices] == [("love", "opened")]
    assert stood.bundles[0].sinks == ("slack", "love")
    for key in "ab":
        desk.apply(change(NONE, 80, key=key), later(80))
    over = desk.tick(later(120)).notices
    assert [(one.sink, one.kind) for one in over] == [("slack", "resolved"), ("love", "resolved")]


def test_what_is_held_back_or_no_longer_waits_is_told_to_nobody_else() -> None:
    desk = alerting(rule(), route=FALLBACK, noise=NOISY)
    (told,) = desk.apply(change(WARNING), later(0)).notices
    desk.shelve(told.alert.id, later(600), "ana", "known", later(1), "cli")
    assert desk.missed(told)
    assert not desk.tick(later(70)).notices
    many = alerting(rule(), route=FALLBACK, noise=NOISY)
    assert [many.missed(told) for _ in range(2_001)].count(False) == 1, "it is brought again"


async def test_what_there_is_no_room_for_waits_in_the_ledger(ledger: SqlLedger) -> None:
    slack = Door(shut=True)
    small = Patience(first=MILLISECOND, longest=MILLISECOND, look=SECOND, size=5)
    async with courier(ledger, slack, patience=small) as post:
        desk = Desk(ledger, post, "slack")
        for key in range(30):
            await desk.tell(WARNING, key=str(key))
        await slack.knocked.wait()
        counts = {one.name: one.counts for one in post.health()}["slack"]
        assert counts["overflowed"] >= 24 and counts["waiting"] <= 6
        slack.shut = False
        assert await post.drain(20 * SECOND)
    assert sorted(int(key) for key, _ in slack.story) == list(range(30))
    assert await ledger.undelivered() == []


async def test_what_is_critical_goes_first(ledger: SqlLedger) -> None:
    slack = Door(shut=True)
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        for key in range(10):
            await desk.tell(WARNING, key=str(key))
        await desk.tell(CRITICAL, key="fire")
        await slack.knocked.wait()
        slack.shut = False
        assert await post.drain(20 * SECOND)
    assert "fire" in [key for key, _ in slack.story[:2]]


async def test_a_sink_that_the_site_has_no_more_makes_dead_letters(ledger: SqlLedger) -> None:
    async with courier(ledger) as post:
        await Desk(ledger, post, "gone").tell(WARNING)
        assert await post.drain(20 * SECOND)
    dead = await ledger.dead_letters(Query())
    assert "no sink 'gone'" in dead[0].error


async def test_sinks_that_die_and_return_hear_of_every_alert_in_order(ledger: SqlLedger) -> None:
    slack = Door()
    async with courier(ledger, slack) as post:
        desk = Desk(ledger, post, "slack")
        for at in range(60):
            slack.shut = at % 7 in (2, 3, 4)
            await desk.tell((WARNING, SERIOUS, CRITICAL)[at % 3], at, key=str(at % 4))
        slack.shut = False
        assert await post.drain(20 * SECOND)
    for key in "0123":
        numbers = [one.sequence for one in slack.came if one.alert.key == key]
        assert numbers == sorted(set(numbers))
        present = desk.alerting.get(f"wind-high {key}")
        assert [one for one in slack.came if one.alert.key == key][-1].alert.severity == (
            present.severity
        )


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_dies_and_returns_each_sink_hears_of_each_alert_in_order(
    distant: Distant, seed: int
) -> None:
    """A schedule of faults: sinks shut and open, the ledger goes and comes, alerts go on."""
    chance, doors = random.Random(seed), [Door("slack"), Door("love")]
    owed: list[Commit] = []
    async with courier(distant, *doors) as post:
        desk = Desk(distant, post, *(door.name for door in doors))
        for at in range(150):
            for door in doors:
                door.shut = door.shut if chance.random() < 0.8 else not door.shut
            if chance.random() < 0.1:
                distant.away = not distant.away
            severity, key = chance.choice(list(Severity)), chance.choice("abcd")
            owed.append(unrecorded(desk, severity, at, key))
            if not distant.away:
                for commit in owed:
                    post.send((await distant.commit(commit)).notices)
                owed.clear()
            await asyncio.sleep(0)
        distant.away = False
        for commit in owed:
            post.send((await distant.commit(commit)).notices)
        for door in doors:
            door.shut = False
        assert await post.drain(30 * SECOND)
    for door in doors:
        assert len({one.id for one in door.came}) == len(door.came), "none twice"
        for key in "abcd":
            heard = [one for one in door.came if one.alert.key == key]
            numbers = [(one.alert.episode, one.sequence) for one in heard]
            assert numbers == sorted(set(numbers))
            stands = desk.alerting.get(change(NONE, key=key).alert)
            assert (heard[-1].alert.state, heard[-1].alert.severity) == (
                stands.state, stands.severity,
            )  # fmt: skip
    assert await distant.undelivered() == []
    assert await distant.dead_letters(Query()) == []


# -- without the ledger ------------------------------------------------------------------------


class Distant(SqlLedger):
    """A ledger that may be away, or not answer at all."""

    def __init__(self) -> None:
        super().__init__("sqlite://", "engine")
        self.reach = asyncio.Event()
        self.reach.set()
        self.away = False

    async def settle(self, notice: Notice, error: str = "", dead: bool = False) -> None:
        await self.reach.wait()
        if self.away:
            raise StoreAway("the disk is full")
        await super().settle(notice, error, dead)

    async def receipt(self, alert: str, sink: str) -> Row:
        await self.reach.wait()
        return await super().receipt(alert, sink)


@pytest.fixture
async def distant() -> AsyncIterator[Distant]:
    async with Distant() as opened:
        yield opened


def unrecorded(desk: Desk, severity: Severity, at: float, key: str = "301") -> Commit:
    """A change whose notices go out before the ledger has them; what it will have."""
    changed = desk.alerting.apply(change(severity, at, key=key), later(at))
    desk.courier.send(replace(one, unrecorded=True) for one in changed.notices)
    return Commit(alerts=changed.alerts, notices=changed.notices, audit=changed.audit)


async def test_alerts_go_out_while_the_ledger_does_not_answer(distant: Distant) -> None:
    slack = Door()
    async with courier(distant, slack) as post:
        desk = Desk(distant, post, "slack")
        await desk.tell(WARNING)
        await slack.until(lambda: len(slack.came) == 1)
        distant.reach.clear()
        owed = [unrecorded(desk, severity, at) for at, severity in enumerate((SERIOUS, NONE), 1)]
        await slack.until(lambda: len(slack.came) == 3)
        assert [one.receipt.get("ts") for one in slack.came] == [None, "1.1", "1.2"]
        distant.reach.set()
        for commit in owed:
            post.send((await distant.commit(commit)).notices)
        assert await post.drain(20 * SECOND)
    assert [kind for _, kind in slack.story] == ["opened", "raised", "resolved"], "none twice"
    assert await distant.undelivered() == []
    assert await distant.receipt(slack.came[0].alert.id, "slack") == {"ts": "1.3"}


async def test_what_waits_unrecorded_is_settled_once_the_ledger_has_it(distant: Distant) -> None:
    slack = Door(shut=True)
    async with courier(distant, slack) as post:
        desk = Desk(distant, post, "slack")
        commit = unrecorded(desk, WARNING, 0)
        await slack.until(lambda: slack.tries > 1)
        post.send((await distant.commit(commit)).notices)
        slack.shut = False
        assert await post.drain(20 * SECOND)
    assert slack.story == [("301", "opened")]
    assert await distant.undelivered() == []


async def test_what_was_skipped_unrecorded_is_not_sent_when_the_ledger_is_back(
    distant: Distant,
) -> None:
    slack = Door(shut=True)
    async with courier(distant, slack) as post:
        desk = Desk(distant, post, "slack")
        owed = [
            unrecorded(desk, severity, at)
            for at, severity in enumerate((WARNING, SERIOUS, CRITICAL))
        ]
        await slack.until(lambda: slack.tries > 1)
        slack.shut = False
        await slack.until(lambda: bool(slack.came))
        for commit in owed:
            post.send((await distant.commit(commit)).notices)
        assert await post.drain(20 * SECOND)
    assert [one.alert.severity for one in slack.came] == [CRITICAL]
    assert slack.came[0].kind == "opened", "to the sink it is news"
    assert await distant.undelivered() == []


async def test_what_the_ledger_could_not_take_is_told_to_it_when_it_is_back(
    distant: Distant,
) -> None:
    slack = Door()
    async with courier(distant, slack) as post:
        desk = Desk(distant, post, "slack")
        await desk.tell(WARNING)
        distant.away = True
        await desk.tell(SERIOUS, 1)
        await slack.until(lambda: len(slack.came) == 2)
        assert not await post.drain(50 * MILLISECOND)
        counts = {one.name: one.counts for one in post.health()}["slack"]
        assert counts["unsettled"] >= 1
        distant.away = False
        assert await post.drain(20 * SECOND)
    assert await distant.undelivered() == []
    assert len(slack.came) == 2


# -- rates -------------------------------------------------------------------------------------


async def test_a_bounded_rate_tells_the_present_state_and_never_swallows_a_worsening(
    ledger: SqlLedger,
) -> None:
    slack, clock = Door(), Clock()
    async with courier(ledger, slack, clock=clock, rates={"slack": Rate(3, HOUR)}) as post:
        desk = Desk(ledger, post, "slack")
        for key in "abxc":
            await desk.tell(WARNING, key=key)
        await slack.until(lambda: len(slack.came) == 3)
        await desk.tell(SERIOUS, 1, key="a")
        await desk.tell(CRITICAL, 2, key="d")
        await slack.until(lambda: len(slack.came) == 5)
        assert slack.story[3:] == [("a", "raised"), ("d", "opened")]
        await desk.tell(WARNING, 3, key="a")
        await desk.tell(NONE, 4, key="a")
        clock.now += 10 * HOUR
        await desk.tell(WARNING, 5, key="e")
        assert await post.drain(20 * SECOND)
        counts = {one.name: one.counts for one in post.health()}["slack"]
    story = [(key, kind) for key, kind in slack.story if key == "a"]
    assert story == [("a", "opened"), ("a", "raised"), ("a", "resolved")]
    assert {"c", "e"} <= {key for key, _ in slack.story}
    assert counts["superseded"] == 1 and counts["paced"] > 0
    assert await ledger.undelivered() == []


# -- dead letters ------------------------------------------------------------------------------


async def test_a_dead_letter_is_sent_again_when_somebody_asks(ledger: SqlLedger) -> None:
    def refuse(notice: Notice) -> None:
        raise SinkError("invalid_auth", final=True)

    slack = Door(trouble=refuse)
    async with courier(ledger, slack) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        assert await post.drain(20 * SECOND)
        (dead,) = await ledger.dead_letters(Query())
        slack.trouble = lambda notice: None
        post.resend(await ledger.revive([dead.notice.id]))
        assert await post.drain(20 * SECOND)
    assert [one.id for one in slack.came] == [dead.notice.id], "under the same key"
    assert await ledger.dead_letters(Query()) == []
    assert await ledger.undelivered() == []


async def test_delivered_notices_are_published(ledger: SqlLedger) -> None:
    heard: list[Notice] = []
    async with courier(ledger, Door(), published=heard.append) as post:
        await Desk(ledger, post, "slack").tell(WARNING)
        assert await post.drain(20 * SECOND)
    assert {one.sink for one in heard} == {"console", "slack"}
