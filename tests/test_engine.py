"""The story of one event, with its stores in memory: what is kept before what is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site
from catcher.app.assembling import RECORDED, assemble
from catcher.app.kept import Kept
from catcher.app.telemetry import Telemetry
from catcher.authoring import VirtualClock
from catcher.engine import Engine
from catcher.hands import Hands
from catcher.model.alert import Severity
from catcher.model.commit import Commit
from catcher.model.event import Admitted, Event
from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.result import Metric
from catcher.model.run import Run
from catcher.model.time import SECOND, Clock, parse_duration, parse_instant, wall_clock
from catcher.ports import Busy, Delivery, Query, StoreAway
from catcher.stores.history import EmbeddedHistory
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects, ObjectSettings
from tests.small_site import DOUBLING, WIND, write_site

START = parse_instant("2025-04-24T00:00:00Z")
RULES = f"""{DOUBLING}---
rule: seen
trigger: {{event: frame, once_per: name}}
job: {{run: doubling}}
---
rule: large
trigger: {{result: doubling, where: doubled > 50}}
alert: {{warning: always}}
---
rule: fault
trigger: {{event: fault, by: part}}
alert: {{warning: always, serious: code > 5, critical: code > 9, latch: critical}}
---{WIND}"""


class Diary(list[str]):
    """What happened, in its order; a test may wait for the next entry."""

    def __init__(self) -> None:
        super().__init__()
        self._grew = asyncio.Event()

    def append(self, entry: str) -> None:
        super().append(entry)
        self._grew.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._grew.clear()
                await self._grew.wait()


class WatchedLedger(SqlLedger):
    """The ledger, with a diary; for the first `away` commits it is not to be had."""

    def __init__(self, url: str, diary: Diary, away: int = 0, clock: Clock = wall_clock) -> None:
        super().__init__(url, "engine-of-a-test", clock)
        self.diary = diary
        self.away = away
        self.commits: list[Commit] = []

    async def commit(self, commit: Commit) -> Commit:
        if self.away:
            self.away -= 1
            self.diary.append("away")
            raise StoreAway("the ledger is away", "bring it back")
        new = await super().commit(commit)
        self.commits.append(commit)
        self.diary.append("kept")
        return new


class Scripted:
    """A source that delivers what a test says; it ends when it is told to."""

    def __init__(self, diary: Diary, name: str = "script") -> None:
        self.name = name
        self._diary = diary
        self._waiting: asyncio.Queue[Delivery | None] = asyncio.Queue()

    def deliver(self, *events: Event, rejected: Sequence[str] = ()) -> asyncio.Event:
        """Hands a durable delivery over; what it returns is set when it is acknowledged."""
        acknowledged = asyncio.Event()

        async def done() -> None:
            self._diary.append("acknowledged")
            acknowledged.set()

        self._waiting.put_nowait(
            Delivery(self.name, events, rejected, durable=True, position="here", done=done)
        )
        return acknowledged

    def mention(self, *events: Event) -> None:
        """Hands over what is telemetry only: nobody waits for it."""

        async def done() -> None:
            self._diary.append("taken")

        self._waiting.put_nowait(Delivery(self.name, events, done=done))

    def end(self) -> None:
        self._waiting.put_nowait(None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        async def deliveries() -> AsyncIterator[Delivery]:
            while (delivery := await self._waiting.get()) is not None:
                yield delivery

        yield deliveries()

    def health(self) -> Health:
        return Health(self.name, "script", "ok")


@dataclass
class Stage:
    """An engine with everything that a test looks at."""

    engine: Engine
    source: Scripted
    ledger: WatchedLedger
    clock: VirtualClock
    diary: Diary
    handed: list[Run]
    told: list[Any]
    drain: Callable[[], Any] | None = None
    results: list[Event] = field(default_factory=list)

    def hands(self) -> Hands:
        return Hands(self.engine, None, {}, [], list)  # type: ignore[arg-type]


def event(when: float, topic: str, **fields: Any) -> Event:
    return Event(topic, START + round(when * SECOND), fields, "script")


def number(when: float, value: float, lane: str = "a") -> Event:
    return event(when, "number", value=value, lane=lane)


def finished(run: Run, doubled: float) -> Run:
    return replace(
        run, state="done", started=1, finished=2, metrics={"doubled": Metric(doubled, "m")}
    )


@asynccontextmanager
async def staged(folder: Path, ledger: str = "sqlite://", away: int = 0) -> AsyncIterator[Stage]:
    """An engine that is not yet running, whose runs go no further than a list."""
    diary = Diary()
    site = load_site(write_site(folder, RULES))
    assert not site.problems, [str(problem) for problem in site.problems]
    clock = VirtualClock(START)
    async with AsyncExitStack() as lifetimes:
        history = await lifetimes.enter_async_context(EmbeddedHistory(None))
        kept = Kept(
            await lifetimes.enter_async_context(WatchedLedger(ledger, diary, away, clock)),
            Telemetry(history, history),
            Objects(ObjectSettings(url="memory://")),
            None,
        )
        assembly = await assemble(site, site.rules, kept, clock, {"script": RECORDED})
        source, handed, told = Scripted(diary), list[Run](), list[Any]()

        def hand_out(run: Run) -> None:
            diary.append(f"handed out {run.rule}")
            handed.append(run)

        async def drain() -> None:
            if stage.drain is not None:
                await stage.drain()

        engine = assembly.engine("test", [source], hand_out, told.extend, drain)
        assert isinstance(kept.ledger, WatchedLedger)
        stage = Stage(engine, source, kept.ledger, clock, diary, handed, told)

        def note(batch: tuple[Admitted, ...]) -> None:
            for one in batch:
                if one.event.topic.startswith("catcher."):
                    stage.results.append(one.event)
                    diary.append(f"result of {one.event.topic}")

        assembly.streams.events.subscribe(note)
        yield stage


@asynccontextmanager
async def running(folder: Path, **how: Any) -> AsyncIterator[Stage]:
    """The same engine, running; it is stopped at the end."""
    async with staged(folder, **how) as stage, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.engine.run())
        await stage.engine.opened.wait()
        yield stage
        stage.engine.stop()
        await task


async def test_a_delivery_is_acknowledged_after_its_commit_and_runs_begin_after_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(number(1, 5)).wait()
        assert stage.diary[:3] == ["kept", "handed out doubling", "acknowledged"]
        commit = stage.ledger.commits[0]
        assert [one.event.topic for one in commit.inbox] == ["number"]
        assert [one.rule for one in commit.firings] == ["doubling"]
        assert [(one.rule, one.state) for one in commit.runs] == [("doubling", "pending")]
        assert commit.positions == {"script": "here"}
        assert commit.states


async def test_a_ledger_that_is_away_holds_the_acknowledgement_back(tmp_path: Path) -> None:
    async with running(tmp_path, away=1) as stage:
        problems: list[Any] = []
        stage.engine.parts.streams.others.subscribe(problems.append)
        acknowledged = stage.source.deliver(number(1, 5))
        await stage.diary.until(lambda: "away" in stage.diary)
        assert stage.engine.books.problem == "ledger: the ledger is away; bring it back"
        await acknowledged.wait()
        assert stage.diary[:4] == ["away", "kept", "handed out doubling", "acknowledged"]
        assert stage.engine.books.problem == ""
        assert [one.kind for one in problems] == ["problem", "problem"]
        assert "answers again" in problems[1].body


async def test_alerts_do_not_wait_for_a_ledger_that_is_away(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(event(1, "wind", speed=5, mast="m")).wait()
        stage.ledger.away = 2
        acknowledged = stage.source.deliver(event(2, "wind", speed=12, mast="m"), number(2, 5))
        await stage.diary.until(lambda: "away" in stage.diary)
        assert [(one.kind, one.unrecorded) for one in stage.told] == [("opened", True)]
        worse = stage.source.deliver(event(3, "wind", speed=22, mast="m"))
        await stage.diary.until(lambda: stage.diary.count("away") == 2)
        assert not (acknowledged.is_set() or worse.is_set() or stage.handed)
        await worse.wait()
        assert len(stage.handed) == 1
        direct = [one.id for one in stage.told if one.unrecorded]
        assert direct == [one.id for one in stage.told if not one.unrecorded]
        assert [one.id for one in await stage.ledger.undelivered()] == direct


async def test_what_gets_worse_twice_at_one_instant_is_told_once(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(
            event(1, "fault", code=7, part="a"), event(1, "fault", code=3, part="b")
        ).wait()
        await stage.source.deliver(event(2, "fault", code=10, part="b")).wait()
        told = [(one.alert.key, one.kind, one.alert.severity, one.previous) for one in stage.told]
        none, warning, serious, critical = Severity
        assert told == [
            ("a", "opened", serious, none),
            ("b", "opened", warning, none),
            ("b", "raised", critical, warning),
        ]
        assert len(await stage.ledger.undelivered()) == 3
        steps = [one.what for one in await stage.ledger.audit(Query())]
        assert sorted(steps) == ["opened", "opened", "raised", "raised"]


async def test_telemetry_does_not_pile_up_while_the_ledger_is_away(tmp_path: Path) -> None:
    async with staged(tmp_path, away=1000) as stage:
        run = asyncio.create_task(stage.engine.run())
        await stage.engine.opened.wait()
        acknowledged = stage.source.deliver(number(1, 5))
        await stage.diary.until(lambda: "away" in stage.diary)
        for place in range(300):
            stage.source.mention(event(2 + place / 100, "wind", speed=5, mast="m"))
        await stage.diary.until(lambda: stage.diary.count("taken") == 300)
        assert not acknowledged.is_set()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


async def test_beyond_what_may_be_owed_events_wait_at_their_source_and_alerts_go_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.bookkeeping.MOST_OWED", 20)
    monkeypatch.setattr("catcher.bookkeeping.MOST_UNKEPT", 40)
    routes = tmp_path / "alerts" / "routes.yaml"
    routes.parent.mkdir()
    routes.write_text(
        "noise: {flood: off, flapping: off}\nsinks: {console: {}}\nroute: {to: [console]}\n"
    )
    async with running(tmp_path) as stage:
        books = stage.engine.books
        stage.ledger.away = 1_000_000
        many = [number(1 + n / 100, 5) for n in range(40)]
        waiting = [stage.source.deliver(*many[:20])]
        await stage.diary.until(lambda: books.away)
        waiting.append(stage.source.deliver(*many[20:39]))
        await stage.diary.until(lambda: books.owed >= 78)
        waiting.append(stage.source.deliver(many[39]))
        telemetry = Scripted(stage.diary, "telemetry")
        pump = asyncio.create_task(stage.engine._pump(telemetry))
        for n in range(100):
            telemetry.mention(event(3 + n / 100, "wind", speed=25 if n % 2 else 5, mast="m"))
        await stage.diary.until(lambda: stage.diary.count("taken") == 100)
        owed = books._owed.decided
        assert [len(one) for one in (owed.inbox, owed.firings, owed.alerts)] == [19, 19, 99]
        assert not any(one.is_set() for one in waiting)
        kinds = Counter(one.kind for one in stage.told if one.unrecorded)
        assert kinds == {"opened": 1, "raised": 49, "lowered": 49}, "every change was told"
        assert 0 < books.lost["notices"] < 100
        stage.ledger.away = 0
        await asyncio.gather(*(one.wait() for one in waiting))
        assert len(await stage.ledger.firings(Query(limit=1000))) == 40
        (alert,) = await stage.ledger.alerts(Query(rule="wind"))
        assert (alert.state, alert.severity) == ("firing", Severity.SERIOUS)
        pump.cancel()


async def test_a_person_is_told_at_once_that_nothing_can_be_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(event(1, "wind", speed=12, mast="m")).wait()
        stage.ledger.away = 1
        stage.source.deliver(event(2, "wind", speed=5, mast="m"))
        await stage.diary.until(lambda: "away" in stage.diary)
        with pytest.raises(Busy, match="the ledger is away"):
            await stage.hands().note(stage.told[0].alert.id, "jo", "seen")


async def test_a_ledger_that_stays_away_does_not_keep_an_engine_from_stopping(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, away=1000) as stage:
        run = asyncio.create_task(stage.engine.run())
        await stage.engine.opened.wait()
        acknowledged = stage.source.deliver(number(1, 5))
        await stage.diary.until(lambda: "away" in stage.diary)
        stage.engine.stop()
        with pytest.raises(ExceptionGroup) as told:
            await run
        assert told.value.subgroup(StoreAway)
        assert not acknowledged.is_set()
        assert not stage.handed


async def test_results_enter_in_the_order_of_the_firings_of_a_key(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for when, lane in ((1, "a"), (2, "a"), (3, "b")):
            await stage.source.deliver(number(when, when, lane)).wait()
        first, second, other = stage.handed
        await stage.engine.report(finished(second, 4))
        await stage.engine.report(finished(other, 6))
        await stage.diary.until(lambda: len(stage.results) == 1)
        assert stage.results[0].fields["lane"] == "b"
        await stage.engine.report(finished(first, 2))
        await stage.diary.until(lambda: len(stage.results) == 3)
        assert [one.fields["doubled"] for one in stage.results] == [6, 2, 4]


async def test_a_result_is_an_event_at_its_firings_time_in_the_commit_of_its_run(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(number(7, 40)).wait()
        (run,) = stage.handed
        await stage.engine.report(finished(run, 80))
        await stage.diary.until(lambda: bool(stage.results))
        (result,) = stage.results
        assert (result.topic, result.time) == ("catcher.doubling", START + 7 * SECOND)
        assert result.fields["value"] == 40
        assert result.fields["doubled"] == 80
        assert result.fields["catcher"] == {
            "rule": "doubling", "key": "a", "run": run.id, "firing": run.id,
            "observation": "", "state": "done",
        }  # fmt: skip
        commit = next(one for one in stage.ledger.commits if one.finished)
        assert [one.rule for one in commit.firings] == ["large"]
        assert [(one.rule, one.severity) for one in commit.alerts] == [("large", Severity.WARNING)]
        assert [one.sink for one in commit.notices] == ["console"]
        assert [one.id for one in stage.told] == [one.id for one in commit.notices]


async def test_a_failed_run_is_kept_and_its_result_is_no_event(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(number(1, 5)).wait()
        (run,) = stage.handed
        await stage.engine.report(replace(run, state="failed", finished=2, error="no luck"))
        await stage.diary.until(lambda: any(one.finished for one in stage.ledger.commits))
        (kept,) = await stage.ledger.runs(Query(id=run.id))
        assert (kept.state, kept.error) == ("failed", "no luck")
        assert not stage.results


async def test_a_firing_that_is_known_already_is_not_handed_out_again(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    for _ in range(2):
        async with running(tmp_path / "site", ledger=ledger) as stage:
            await stage.source.deliver(event(1, "frame", name="MC_1", value=1)).wait()
            await stage.source.deliver(event(2, "frame", name="MC_1", value=1)).wait()
            handed = [run.firing.once for run in stage.handed]
            # The second engine takes the run up, which the first has left, and begins no other.
            assert handed == ["MC_1"]
    assert len(stage.ledger.commits) > 0


async def test_an_engine_takes_up_the_runs_and_notices_that_another_left(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(number(1, 5), event(2, "wind", speed=12, mast="m")).wait()
        left = [run.id for run in stage.handed]
        notices = [notice.id for notice in stage.told]
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert [run.id for run in stage.handed] == left
        assert [notice.id for notice in stage.told] == notices
        assert [run.state for run in stage.handed] == ["pending"]


async def test_an_alert_goes_on_where_it_stood_before_a_restart(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(event(1, "wind", speed=12, mast="m")).wait()
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(event(2, "wind", speed=12, mast="m")).wait()
        await stage.source.deliver(event(3, "wind", speed=5, mast="m")).wait()
        (alert,) = await stage.ledger.alerts(Query(rule="wind"))
        assert (alert.state, alert.episode) == ("resolved", 1)


async def test_what_goes_on_at_the_stop_is_finished_and_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        run = asyncio.create_task(stage.engine.run())
        await stage.engine.opened.wait()
        await stage.source.deliver(number(1, 30)).wait()

        async def finish() -> None:
            await stage.engine.report(finished(stage.handed[0], 60))

        stage.drain = finish
        stage.engine.stop()
        await run
        (kept,) = await stage.ledger.runs(Query(rule="doubling"))
        assert kept.state == "done"
        assert [one.rule for one in await stage.ledger.alerts(Query())] == ["large"]


async def test_what_cannot_be_finished_at_the_stop_is_handed_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        run = asyncio.create_task(stage.engine.run())
        await stage.engine.opened.wait()
        await stage.source.deliver(number(1, 30)).wait()
        stage.engine.stop()
        await run
        (left,) = await stage.ledger.runs(Query(rule="doubling"))
        assert (left.id, left.state) == (stage.handed[0].id, "pending")


async def test_an_engine_ends_by_itself_when_its_sources_have_ended_and_all_is_done(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        run = asyncio.create_task(stage.engine.run())
        await stage.source.deliver(number(1, 30)).wait()
        stage.source.end()
        await stage.engine.report(finished(stage.handed[0], 60))
        async with asyncio.timeout(20):
            await run
        assert await stage.ledger.runs(Query(state="pending")) == []
        assert len(stage.results) == 1


async def test_what_is_no_event_is_told_and_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        problems: list[Any] = []
        stage.engine.parts.streams.others.subscribe(problems.append)
        await stage.source.deliver(number(1, 1), rejected=["line 3 is no JSON"]).wait()
        assert [one.body for one in problems] == ["script: line 3 is no JSON"]
        assert len(stage.handed) == 1


async def test_what_a_person_does_is_kept_before_it_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(event(1, "wind", speed=12, mast="m")).wait()
        (alert,) = await stage.ledger.alerts(Query())
        hands = stage.hands()
        taken = await hands.acknowledge(alert.id, Severity.WARNING, "ana", "I look")
        assert taken.state == "acknowledged"
        (kept,) = await stage.ledger.alerts(Query())
        assert kept.state == "acknowledged"
        deeds = await stage.ledger.audit(Query())
        assert ("acknowledged", "ana", "api") in [(one.what, one.who, one.channel) for one in deeds]


async def test_an_end_beyond_all_time_is_refused_and_ends_no_engine(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(event(1, "wind", speed=12, mast="m")).wait()
        hands, alert = stage.hands(), stage.told[0].alert.id
        for words in ("300000w", "999999999999999w"):
            with pytest.raises(CatcherError, match="cannot end"):
                await hands.shelve(alert, parse_duration(words), "jo", "why")
            with pytest.raises(CatcherError, match="cannot end"):
                span = parse_duration(words)
                await hands.silence("wind", {}, Severity.CRITICAL, span, "jo", "why")
        assert (await hands.note(alert, "jo", "seen")).id == alert


async def test_a_refused_deed_is_answered_with_its_reason_and_audited(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.source.deliver(event(1, "wind", speed=25, mast="m")).wait()
        (alert,) = await stage.ledger.alerts(Query())
        with pytest.raises(CatcherError, match="SERIOUS"):
            await stage.hands().acknowledge(alert.id, Severity.WARNING, "ana", "")
        refused = [one for one in await stage.ledger.audit(Query()) if "refused" in one.detail]
        assert [one.who for one in refused] == ["ana"]
        (kept,) = await stage.ledger.alerts(Query())
        assert kept.state == "firing"


async def test_a_rule_fired_by_hand_runs_and_its_result_tells_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        firing = await stage.hands().fire("doubling", number(1, 50), "", "ana", False)
        assert firing.manual
        assert firing.quiet
        (run,) = stage.handed
        await stage.engine.report(finished(run, 100))
        await stage.diary.until(lambda: any(one.finished for one in stage.ledger.commits))
        assert not stage.results
        assert await stage.ledger.alerts(Query()) == []
        told = await stage.hands().fire("doubling", number(2, 50), "", "ana", True)
        await stage.engine.report(finished(stage.handed[1], 100))
        await stage.diary.until(lambda: bool(stage.results))
        assert not told.quiet
        assert [one.rule for one in await stage.ledger.alerts(Query())] == ["large"]


async def test_an_unknown_rule_or_observation_is_not_fired(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        with pytest.raises(CatcherError, match="no rule 'doubeling' runs here"):
            await stage.hands().fire("doubeling", None, "", "ana", False)
        with pytest.raises(CatcherError, match="no observation 'MC_9' is known"):
            await stage.hands().fire("doubling", None, "MC_9", "ana", False)
        assert not stage.handed
