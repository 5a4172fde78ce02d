"""The routes of the alert desk: silences, shifts, dead letters, figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from catcher.model import shown, shown_desk
from catcher.model.alert import Alert, Severity
from catcher.model.desk import Shift, Silence
from catcher.model.time import DAY, Instant, Span, parse_duration, parse_instant, wall_clock
from catcher.ports import DeadLetter, Door, Query
from catcher.ports import Row as AnyRow

Row = dict[str, Any]
CHANNEL = "X-Catcher-Channel"
"""The header in which a caller says by which way somebody came, for the audit trail."""
_WORD = re.compile(r"[a-z][a-z0-9-]{0,19}", re.ASCII)


class DeskDoor(Door, Protocol):
    """The part of an engine's door that leads to the alert desk; each refusal a CatcherError."""

    def through(self, channel: str) -> Self: ...
    async def assign(self, alert: str, to: str, who: str) -> Alert: ...
    async def confirm(self, id: str, who: str) -> str: ...
    async def silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, span: Span, who: str,
        reason: str,
    ) -> Silence: ...  # fmt: skip
    async def unsilence(self, id: str, who: str) -> Silence: ...
    def silences(self) -> Sequence[Silence]: ...
    async def hand_over(self, to: str, who: str, note: str) -> Shift: ...
    def shift(self) -> Shift | None: ...
    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]: ...
    async def resend(self, ids: Sequence[str], who: str) -> int: ...
    async def figures(
        self, start: Instant, end: Instant, longitude: float | None = None
    ) -> AnyRow: ...


class Person(BaseModel):
    """Who asks."""

    who: str = Field(min_length=1, max_length=100)


class Assign(Person):
    """Saying who sees to an alert."""

    to: str = Field(min_length=1, max_length=100)


class Hush(Person):
    """A silence: what it holds back, up to which severity, for how long, and why."""

    name: str = Field(min_length=1, max_length=500)
    labels: dict[str, str] = Field(default_factory=dict, max_length=20)
    severity: str = "serious"
    span: str = Field("1h", max_length=20)
    reason: str = Field(min_length=1, max_length=4000)


class HandOver(Person):
    """Handing the shift over."""

    to: str = Field(min_length=1, max_length=100)
    note: str = Field("", max_length=4000)


class Resend(Person):
    """Sending dead letters again: these, or with `every` all of them."""

    ids: list[str] = Field(default_factory=list, max_length=10_000)
    every: bool = False


def channel_of(request: Request) -> str:
    """By which way somebody came: what the caller says, if it is a plain word."""
    said = request.headers.get(CHANNEL, "")
    return said if _WORD.fullmatch(said) else "api"


def desk(api: FastAPI, door: DeskDoor) -> None:
    """Adds the routes of the alert desk."""
    _people(api, door)
    _silences(api, door)
    _letters(api, door)

    @api.get("/alarms/figures")
    async def figures(since: str = "24h", until: str = "") -> Row:
        """The figures of ISA-18.2 for the span since a time, or for so long back."""
        end = parse_instant(until) if until else wall_clock()
        return dict(await door.figures(_since(since, end), end))


def _people(api: FastAPI, door: DeskDoor) -> None:
    @api.post("/alerts/{alert}/assign")
    async def assign(alert: str, body: Assign, request: Request) -> Row:
        """Says who sees to an alert."""
        through = door.through(channel_of(request))
        return shown.alert_row(await through.assign(alert, body.to, body.who))

    @api.post("/confirm/{id}")
    async def confirm(id: str, body: Person, request: Request) -> Row:
        """Takes over a shelf or a silence of the shift before; `id` an alert or a silence."""
        return {"confirmed": await door.through(channel_of(request)).confirm(id, body.who)}

    @api.get("/shift")
    async def shift() -> Row:
        """Who is on shift."""
        return shown_desk.shift_row(door.shift())

    @api.post("/shift")
    async def hand_over(body: HandOver, request: Request) -> Row:
        """Another person is on shift: open alerts are theirs, shelves are theirs to confirm."""
        through = door.through(channel_of(request))
        return shown_desk.shift_row(await through.hand_over(body.to, body.who, body.note))


def _silences(api: FastAPI, door: DeskDoor) -> None:
    @api.get("/silences")
    async def silences() -> list[Row]:
        """The silences in force; `idle` ones have held nothing back."""
        return [shown_desk.silence_row(one) for one in door.silences()]

    @api.post("/silences", status_code=201)
    async def silence(body: Hush, request: Request) -> Row:
        """Holds back all news of what fits, up to a severity, until an end."""
        made = await door.through(channel_of(request)).silence(
            body.name, body.labels, Severity.parse(body.severity), parse_duration(body.span),
            body.who, body.reason,
        )  # fmt: skip
        return shown_desk.silence_row(made)

    @api.post("/silences/{id}/end")
    async def end(id: str, body: Person, request: Request) -> Row:
        """Ends a silence before its time."""
        ended = await door.through(channel_of(request)).unsilence(id, body.who)
        return shown_desk.silence_row(ended)


def _letters(api: FastAPI, door: DeskDoor) -> None:
    @api.get("/dead-letters")
    async def letters(sink: str = "", alert: str = "", limit: int = 100) -> list[Row]:
        """Notices that were given up, newest first."""
        query = Query(name=sink, id=alert, limit=max(1, min(limit, 10_000)))
        found = await door.dead_letters(query)
        return [shown_desk.letter_row(one.notice, one.error, one.time) for one in found]

    @api.post("/dead-letters/resend")
    async def resend(body: Resend, request: Request) -> Row:
        """Has dead letters delivered again, as their alerts stand now."""
        if not body.ids and not body.every:
            return {"resent": 0}
        ids = [] if body.every else body.ids
        return {"resent": await door.through(channel_of(request)).resend(ids, body.who)}


def _since(text: str, end: Instant) -> Instant:
    try:
        return max(0, end - min(parse_duration(text), 366 * DAY))
    except ValueError:
        return parse_instant(text)
