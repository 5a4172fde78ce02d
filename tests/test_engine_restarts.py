"""What an engine takes up where another left it, however that ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from catcher.alerting import register
from catcher.model.alert import Alert
from catcher.model.commit import Commit
from catcher.model.event import Event
from catcher.model.time import SECOND
from catcher.ports import Busy, Query, StoreAway
from catcher.steps import Decided
from catcher.watching import SourceClock
from tests import test_engine
from tests.test_engine import Stage, event, finished, number, running, staged


@asynccontextmanager
async def killed(folder: Path, ledger: str) -> AsyncIterator[Stage]:
    """A running engine that ends in the middle, with nothing said or saved."""
    async with staged(folder, ledger=ledger) as stage:
        run = asyncio.create_task(stage.engine.run())
        await stage.engine.opened.wait()
        yield stage
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run


async def wind(stage: Stage, when: float, speed: float, mast: str = "m") -> Alert:
    """A sample of the wind, and the alert of its mast as it is kept then."""
    await stage.source.deliver(event(when, "wind", speed=speed, mast=mast)).wait()
    kept = await stage.ledger.alerts(Query(rule="wind"))
    return max((one for one in kept if one.key == mast), key=lambda one: one.opened)


async def test_an_alert_that_was_opened_just_before_a_crash_is_resolved_after_it(
    tmp_path: Path,
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with killed(tmp_path / "site", ledger) as stage:
        await stage.source.deliver(event(1, "wind", speed=5, mast="m")).wait()
        assert (await wind(stage, 2, 12)).state == "firing"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert (await wind(stage, 3, 5)).state == "resolved"


async def test_a_result_that_was_kept_before_a_crash_counts_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = """---
rule: third
trigger: {result: doubling, where: doubled > 0}
alert: {warning: "streak(doubled > 50) >= 3"}
"""
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + rules)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"

    async def result(stage: Stage, when: float) -> None:
        await stage.source.deliver(number(when, 40)).wait()
        await stage.engine.report(finished(stage.handed[-1], 80))
        count = len(stage.results)
        await stage.diary.until(lambda: len(stage.results) > count)

    async with killed(tmp_path / "site", ledger) as stage:
        await result(stage, 1)
        await result(stage, 2)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await result(stage, 3)
        assert [one.state for one in await stage.ledger.alerts(Query(rule="third"))] == ["firing"]


async def test_an_alert_ends_where_its_rule_means_something_else_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert (await wind(stage, 1, 12)).state == "firing"
    edited = test_engine.RULES.replace("speed > 10", "speed > 15")
    monkeypatch.setattr(test_engine, "RULES", edited)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        ended = await wind(stage, 2, 12)
        assert (ended.state, ended.reason) == ("resolved", "the rule was changed")
        assert [one.kind for one in stage.told][-1] == "resolved"
        again = await wind(stage, 3, 17)
        assert (again.state, again.episode) == ("firing", 2)


async def test_an_alert_that_is_no_longer_remembered_is_told_when_it_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "REMEMBERED", 1)
    async with running(tmp_path) as stage:
        for place, mast in enumerate(("a", "b")):
            await wind(stage, 2 * place + 1, 12, mast)
            await wind(stage, 2 * place + 2, 5, mast)
        told = len(stage.told)
        again = await wind(stage, 5, 12, "a")
        assert again.episode > 1
        assert [(one.kind, one.alert.id) for one in stage.told[told:]] == [("opened", again.id)]


async def test_an_open_alert_is_known_after_a_restart_however_many_came_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.app.assembling.REMEMBERED_ALERTS", 1)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await wind(stage, 1, 12, "old")
        for place, mast in enumerate(("a", "b")):
            await wind(stage, 2 * place + 2, 12, mast)
            await wind(stage, 2 * place + 3, 5, mast)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert (await wind(stage, 6, 5, "old")).state == "resolved"
        told = len(stage.told)
        assert (await wind(stage, 7, 12, "a")).episode > 1
        assert [one.kind for one in stage.told[told:]] == ["opened"]


async def test_a_run_by_hand_holds_no_other_result_back(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.hands().fire("doubling", number(1, 5), "", "ana", False)
        await stage.source.deliver(number(2, 40)).wait()
        by_hand, automatic = stage.handed
        assert by_hand.firing.manual
        await stage.engine.report(finished(automatic, 80))
        await stage.diary.until(lambda: bool(stage.results))
        assert stage.results[0].fields["catcher"]["run"] == automatic.id


async def test_what_was_held_back_at_the_stop_comes_in_after_it(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        stage.clock.now += 1000 * SECOND
        await stage.source.deliver(number(1, 40)).wait()
        # So far ahead of the stream it is let in only when others, or time, confirm it.
        await stage.source.deliver(number(100, 40)).wait()
    assert len(stage.handed) == 1
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(number(101, 40)).wait()
        await stage.diary.until(lambda: len(stage.handed) == 3)


async def test_nothing_can_be_done_to_an_engine_that_has_stopped(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        stage.engine.stop()
    with pytest.raises(Busy):
        await stage.hands().fire("doubling", number(1, 5), "", "ana", False)


async def test_whoever_waits_for_room_when_an_engine_ends_is_answered(tmp_path: Path) -> None:
    asked: list[asyncio.Task[Alert]] = []
    async with running(tmp_path) as stage:
        await wind(stage, 1, 12)
        hands, alert = stage.hands(), stage.told[0].alert.id

        async def ask() -> None:
            _, most = stage.engine.waiting
            notes = (hands.note(alert, "jo", "seen") for _ in range(3 * most))
            asked.extend(asyncio.create_task(note) for note in notes)

        kept = stage.engine.books.kept

        async def ask_and_keep() -> None:
            await kept()
            await ask()

        stage.drain = ask
        stage.engine.books.kept = ask_and_keep  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(one, Alert | Busy) for one in answers)


async def test_a_rule_that_was_away_for_a_while_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, whole = f"sqlite:///{tmp_path / 'ledger.db'}", test_engine.RULES
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert (await wind(stage, 1, 12)).state == "firing"
    monkeypatch.setattr(test_engine, "RULES", whole.replace("rule: wind", "rule: other"))
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert (await wind(stage, 2, 12)).state == "resolved"
    monkeypatch.setattr(test_engine, "RULES", whole)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        again = await wind(stage, 3, 12)
        assert (again.state, again.episode) == ("firing", 2)


# -- the inbox ----------------------------------------------------------------------------------

QUIET = """---
rule: thrice
trigger: {telemetry: gust, when: "sum_over(speed, last=3) > 30"}
"""


async def gust(stage: Stage, when: float, speed: float) -> None:
    await stage.source.deliver(event(when, "gust", speed=speed)).wait()


async def fired(stage: Stage) -> int:
    return len(await stage.ledger.firings(Query(rule="thrice")))


async def test_what_was_acknowledged_but_in_no_saved_state_counts_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + QUIET)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with killed(tmp_path / "site", ledger) as stage:
        await gust(stage, 1, 11)
        await gust(stage, 2, 12)
        assert len(await stage.ledger.uncovered(0, 10)) == 2
    async with running(tmp_path / "site", ledger=ledger) as stage:
        assert not await stage.ledger.uncovered(0, 10)
        await gust(stage, 3, 13)
        assert await fired(stage) == 1


async def test_what_a_broker_brings_again_after_a_crash_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + QUIET)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with killed(tmp_path / "site", ledger) as stage:
        await gust(stage, 1, 11)
        await gust(stage, 2, 12)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await gust(stage, 2, 12)
        await gust(stage, 1, 11)
        assert await fired(stage) == 0
        assert stage.engine.parts.admission.counts("script")["duplicates"] == 2
        await gust(stage, 3, 13)
        assert await fired(stage) == 1


async def test_an_event_that_was_held_back_at_a_crash_comes_in_after_it(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with killed(tmp_path / "site", ledger) as stage:
        await stage.source.deliver(number(1, 5)).wait()
        assert len(stage.handed) == 1
        await stage.source.deliver(number(500, 6)).wait()
        assert len(stage.handed) == 1, "a lone event far ahead waits"
        assert [one.event.fields["value"] for _, one in await stage.ledger.uncovered(0, 9)] == [6]
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(number(501, 7)).wait()
        values = [one.firing.event.fields["value"] for one in stage.handed if one.firing.event]
        assert values == [5, 6, 7]


async def test_an_event_that_is_still_held_back_survives_a_second_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = SourceClock(clock="stream", lateness=0, reorder=5 * SECOND)
    monkeypatch.setattr(test_engine, "RECORDED", buffered)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with killed(tmp_path / "site", ledger) as stage:
        await stage.source.deliver(number(1, 5)).wait()
    async with killed(tmp_path / "site", ledger) as stage:
        assert [one.fields["value"] for one in stage.engine.parts.admission.held()] == [5]
        assert len(await stage.ledger.uncovered(0, 9)) == 1
    async with running(tmp_path / "site", ledger=ledger) as stage:
        stage.clock.now += 100 * SECOND
        await stage.source.deliver(number(4, 6)).wait()
        await stage.source.deliver(number(8, 7)).wait()
        values = [one.firing.event.fields["value"] for one in stage.handed if one.firing.event]
        assert values == [5]


async def test_a_state_that_is_saved_at_the_stop_knows_of_no_firing_that_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = SourceClock(clock="stream", lateness=0, reorder=5 * SECOND)
    monkeypatch.setattr(test_engine, "RECORDED", buffered)
    async with running(tmp_path) as stage:
        stage.source.mention(number(1, 5))
        await stage.diary.until(lambda: bool(stage.engine.parts.admission.held()))
        history, books = stage.engine.parts.history, stage.engine.books
        append = history.append

        async def slowly(events: Sequence[Event]) -> None:
            books.add(Decided(), save=True)
            for _ in range(100):  # Long enough for the writer to begin, were it let.
                await asyncio.sleep(0)
            await append(events)

        monkeypatch.setattr(history, "append", slowly)
    saving = [one for one in stage.ledger.commits if any(s.rule == "doubling" for s in one.states)]
    assert [len(one.firings) for one in saving] == [1]


async def test_states_are_saved_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + QUIET)
    async with running(tmp_path) as stage:
        await gust(stage, 1, 1)
        stage.clock.now -= 3600 * SECOND
        await gust(stage, 2, 1)
        await stage.engine.take([])
        assert not await stage.ledger.uncovered(0, 9)


async def test_a_commit_whose_answer_was_lost_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        keep = stage.ledger.commit
        lost: list[Commit] = []

        async def lose(commit: Commit) -> Commit:
            new = await keep(commit)
            if commit.firings and not lost:
                lost.append(new)
                raise StoreAway("the connection broke", "see to it")
            return new

        stage.ledger.commit = lose  # type: ignore[method-assign]
        await stage.source.deliver(number(1, 5), number(2, 6)).wait()
        assert [one.id for one in stage.handed] == [one.id for one in lost[0].runs]
        assert len(await stage.ledger.firings(Query())) == 2


async def test_silence_counts_from_the_restart_where_a_wall_clock_tells_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = """---
rule: silent
trigger: {absent: {topic: wind, for: 60s}}
"""
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + silent)
    monkeypatch.setattr(test_engine, "RECORDED", SourceClock(lateness=0))
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(event(0, "wind", speed=5, mast="m")).wait()
    monkeypatch.setattr(test_engine, "START", test_engine.START + 3600 * SECOND)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        stage.clock.now += 50 * SECOND
        await stage.source.deliver(number(50, 5)).wait()
        assert not await stage.ledger.firings(Query(rule="silent"))
        stage.clock.now += 11 * SECOND
        await stage.source.deliver(number(61, 5)).wait()
        await stage.source.deliver(number(61.5, 5)).wait()
        fired = await stage.ledger.firings(Query(rule="silent"))
        assert [one.time - test_engine.START for one in fired] == [60 * SECOND]


HELD = """---
rule: held
trigger: {telemetry: wind, when: speed > 10, for: 20s}
"""


@pytest.mark.parametrize(("died", "fires"), [(19, []), (21, [20])])
async def test_a_hold_that_fell_due_before_a_crash_fires_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died: float, fires: list[float]
) -> None:
    """Its timer would have run a little later; the wind has fallen by the restart."""
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + HELD)
    monkeypatch.setattr(test_engine, "RECORDED", SourceClock(lateness=5 * SECOND))
    ledger, begun = f"sqlite:///{tmp_path / 'ledger.db'}", test_engine.START

    async def gust(stage: Stage, when: float, speed: float) -> None:
        stage.clock.now = begun + round(when * SECOND)
        await stage.source.deliver(event(when, "wind", speed=speed, mast="m")).wait()

    async with killed(tmp_path / "site", ledger) as stage:
        await gust(stage, 0, 12)
        await gust(stage, died - 1, 12)
        stage.clock.now = begun + round(died * SECOND)
        await stage.source.deliver(number(died, 5)).wait()
        assert not await stage.ledger.firings(Query(rule="held"))
    monkeypatch.setattr(test_engine, "START", begun + 600 * SECOND)
    async with running(tmp_path / "site", ledger=ledger) as stage:
        await stage.source.deliver(event(0, "wind", speed=5, mast="m")).wait()
        fired = await stage.ledger.firings(Query(rule="held"))
        assert [(one.time - begun) / SECOND for one in fired] == fires
