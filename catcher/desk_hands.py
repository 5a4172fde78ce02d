"""What people do at the alert desk of a running engine, carried out between two steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.alerting import Alerting, Changed
from catcher.alerting.figures import figures
from catcher.alerting.reporting import figures_row
from catcher.engine import Engine
from catcher.model.alert import Alert, AuditEntry, Notice, Severity
from catcher.model.desk import Shift, Silence
from catcher.model.problem import CatcherError, Unknown
from catcher.model.time import Instant, Span
from catcher.ports import DeadLetter, Query, Row
from catcher.steps import Decided

MOST_LETTERS = 10_000
MOST_EPISODES = 1_000_000
Resend = Callable[[Sequence[Notice]], None]


def to_nobody(notices: Sequence[Notice]) -> None:
    """Where no courier is: a rehearsal."""


class DeskHands:
    """The part of an engine's door that leads to the alert desk."""

    _engine: Engine
    _channel: str
    _resend: Resend

    async def acknowledge(
        self, alert: str, severity: Severity | None, who: str, note: str
    ) -> Alert:
        """Takes an alert; refused if it got worse than the severity that was seen."""
        return await self._change(
            alert,
            lambda desk, now: desk.acknowledge(alert, severity, who, note, now, self._channel),
        )

    async def shelve(self, alert: str, span: Span, who: str, reason: str) -> Alert:
        """Puts an alert aside for a while."""
        return await self._change(
            alert, lambda desk, now: desk.shelve(alert, now + span, who, reason, now, self._channel)
        )

    async def unshelve(self, alert: str, who: str) -> Alert:
        """Brings a shelved alert back."""
        return await self._change(
            alert, lambda desk, now: desk.unshelve(alert, who, now, self._channel)
        )

    async def note(self, alert: str, who: str, text: str, link: str = "") -> Alert:
        """Writes a note to an alert, with an address where there is more."""
        return await self._change(
            alert, lambda desk, now: desk.note(alert, text, who, now, self._channel, link)
        )

    async def assign(self, alert: str, to: str, who: str) -> Alert:
        """Says who sees to an alert."""
        return await self._change(
            alert, lambda desk, now: desk.assign(alert, to, who, now, self._channel)
        )

    async def confirm(self, id: str, who: str) -> str:
        """Takes over the shelf of an alert, or a silence, of the shift before; its whole id."""
        done = await self._do(lambda desk, now: desk.confirm(id, who, now, self._channel))
        return done.silences[0].id if done.silences else done.alerts[0].id

    async def silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, span: Span, who: str,
        reason: str,
    ) -> Silence:  # fmt: skip
        """Holds back all news of what fits for a while, up to a severity."""
        done = await self._do(
            lambda desk, now: desk.silence(
                name, labels, severity, now + span, who, reason, now, self._channel
            )
        )
        return done.silences[0]

    async def unsilence(self, id: str, who: str) -> Silence:
        """Ends a silence before its time."""
        done = await self._do(lambda desk, now: desk.unsilence(id, who, now, self._channel))
        return done.silences[-1]

    def silences(self) -> Sequence[Silence]:
        """The silences in force, the next to end first."""
        return self._engine.parts.alerting.silences()

    async def hand_over(self, to: str, who: str, note: str) -> Shift:
        """Another person is on shift from now on."""
        done = await self._do(lambda desk, now: desk.hand_over(to, who, note, now, self._channel))
        return done.shifts[-1]

    def shift(self) -> Shift | None:
        """Who is on shift."""
        return self._engine.parts.alerting.shift

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up, newest first; `id` is an alert, `name` a sink."""
        return await self._engine.parts.ledger.dead_letters(query)

    async def resend(self, ids: Sequence[str], who: str) -> int:
        """Has dead letters delivered again, all where none is named; returns how many.

        An id may be cut short. What is sent is how each alert stands now, under the key that the
        letter had.
        """
        parts = self._engine.parts
        found = await parts.ledger.dead_letters(Query(limit=MOST_LETTERS))
        known = sorted(one.notice.id for one in found)
        wanted = [_letter(known, id) for id in dict.fromkeys(ids)]
        revived = await parts.ledger.revive(wanted or known)

        def act(now: Instant) -> Decided:
            detail = {"notices": [one.id for one in revived][:100], "count": len(revived)}
            entry = AuditEntry(now, who, self._channel, "resend", "dead letters", detail)
            return Decided(audit=[entry])

        await self._engine.do(act)
        self._resend([self._as_it_stands(one) for one in revived])
        return len(revived)

    def _as_it_stands(self, notice: Notice) -> Notice:
        try:
            alert = self._engine.parts.alerting.get(notice.alert.id)
        except CatcherError:
            return notice
        if (alert.episode, alert.sequence) <= (notice.alert.episode, notice.alert.sequence):
            return notice
        kind = "resolved" if alert.state == "resolved" else notice.kind
        return replace(notice, alert=alert, kind=kind)

    async def figures(self, start: Instant, end: Instant, longitude: float | None = None) -> Row:
        """The figures of ISA-18.2 over a span."""
        query = Query(start=start, end=end, limit=MOST_EPISODES)
        episodes = await self._engine.parts.ledger.alerts(query)
        return figures_row(figures(episodes, start, end, longitude))

    async def _change(self, alert: str, change: Callable[[Alerting, Instant], Changed]) -> Alert:
        await self._do(change)
        return self._engine.parts.alerting.get(alert)

    async def _do(self, change: Callable[[Alerting, Instant], Changed]) -> Decided:
        def act(now: Instant) -> Decided:
            decided = Decided()
            decided.add(change(self._engine.parts.alerting, now))
            return decided

        done: Any = await self._engine.do(act)
        return done if isinstance(done, Decided) else Decided()


def _letter(known: Sequence[str], id: str) -> str:
    """The one dead letter that is called so, or begins so."""
    found = [one for one in known if id and one.startswith(id)]
    if id in found or len(found) == 1:
        return id if id in found else found[0]
    words = f"{len(found)} dead letters begin with" if found else "no dead letter is called"
    raise Unknown(f"{words} {id[:80]!r}", "`catcher dead-letters` lists them")
