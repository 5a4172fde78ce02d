"""The routes of the alert pipeline: silences, shifts, dead letters, statistics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from catcher.model import json_rows
from catcher.model.alert import Alert, Severity
from catcher.model.alert_operations import Shift, Silence
from catcher.model.time import DAY, Instant, Span, parse_duration, parse_instant, wall_clock
from catcher.ports import DeadLetter, EngineApi, Query
from catcher.ports import Row as AnyRow

Row = dict[str, Any]
CHANNEL_HEADER = "X-Catcher-Channel"
"""The header in which a caller names the channel that a person used, for the audit log."""
_CHANNEL_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,19}", re.ASCII)


class AlertApi(EngineApi, Protocol):
    """The part of an engine's API for alerts; each refusal raises a CatcherError."""

    def with_channel(self, channel: str) -> Self: ...
    async def assign_alert(self, alert: str, to: str, who: str) -> Alert: ...
    async def confirm_suppression(self, id: str, who: str) -> str: ...
    async def create_silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, span: Span, who: str,
        reason: str,
    ) -> Silence: ...  # fmt: skip
    async def end_silence(self, id: str, who: str) -> Silence: ...
    def list_silences(self) -> Sequence[Silence]: ...
    async def hand_over_shift(self, to: str, who: str, note: str) -> Shift: ...
    def get_current_shift(self) -> Shift | None: ...
    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]: ...
    async def requeue_dead_letters(self, ids: Sequence[str], who: str) -> int: ...
    async def compute_alarm_statistics(
        self, start: Instant, end: Instant, longitude: float | None = None
    ) -> AnyRow: ...


class ActorRequest(BaseModel):
    """Who asks."""

    who: str = Field(min_length=1, max_length=100)


class AssignRequest(ActorRequest):
    """Saying who sees to an alert."""

    to: str = Field(min_length=1, max_length=100)


class SilenceRequest(ActorRequest):
    """A silence: what it holds back, up to which severity, for how long, and why."""

    name: str = Field(min_length=1, max_length=500)
    labels: dict[str, str] = Field(default_factory=dict, max_length=20)
    severity: str = "serious"
    span: str = Field("1h", max_length=20)
    reason: str = Field(min_length=1, max_length=4000)


class HandoverRequest(ActorRequest):
    """Handing the shift over."""

    to: str = Field(min_length=1, max_length=100)
    note: str = Field("", max_length=4000)


class RedeliverRequest(ActorRequest):
    """Sending dead letters again: these, or with `every` all of them."""

    ids: list[str] = Field(default_factory=list, max_length=10_000)
    every: bool = False


def get_channel(request: Request) -> str:
    """Returns the channel that the caller names, if it is a plain word, else `api`."""
    channel = request.headers.get(CHANNEL_HEADER, "")
    return channel if _CHANNEL_PATTERN.fullmatch(channel) else "api"


def add_alert_routes(api: FastAPI, engine: AlertApi) -> None:
    """Adds the routes of the alert pipeline."""
    _add_shift_routes(api, engine)
    _add_silence_routes(api, engine)
    _add_dead_letter_routes(api, engine)

    @api.get("/alarms/figures")
    async def figures(since: str = "24h", until: str = "") -> Row:
        """The figures of ISA-18.2 for the span since a time, or for so long back."""
        end = parse_instant(until) if until else wall_clock()
        return dict(await engine.compute_alarm_statistics(_parse_since(since, end), end))


def _add_shift_routes(api: FastAPI, engine: AlertApi) -> None:
    @api.post("/alerts/{alert}/assign")
    async def assign(alert: str, body: AssignRequest, request: Request) -> Row:
        """Says who sees to an alert."""
        channel_engine = engine.with_channel(get_channel(request))
        return json_rows.alert_to_row(await channel_engine.assign_alert(alert, body.to, body.who))

    @api.post("/confirm/{id}")
    async def confirm(id: str, body: ActorRequest, request: Request) -> Row:
        """Takes over a shelf or a silence of the shift before; `id` an alert or a silence."""
        return {
            "confirmed": await engine.with_channel(get_channel(request)).confirm_suppression(
                id, body.who
            )
        }

    @api.get("/shift")
    async def shift() -> Row:
        """Who is on shift."""
        return json_rows.shift_to_row(engine.get_current_shift())

    @api.post("/shift")
    async def hand_over(body: HandoverRequest, request: Request) -> Row:
        """Another person is on shift: open alerts are theirs, shelves are theirs to confirm."""
        channel_engine = engine.with_channel(get_channel(request))
        return json_rows.shift_to_row(
            await channel_engine.hand_over_shift(body.to, body.who, body.note)
        )


def _add_silence_routes(api: FastAPI, engine: AlertApi) -> None:
    @api.get("/silences")
    async def silences() -> list[Row]:
        """The silences in force; `idle` ones have held nothing back."""
        return [json_rows.silence_to_row(silence) for silence in engine.list_silences()]

    @api.post("/silences", status_code=201)
    async def silence(body: SilenceRequest, request: Request) -> Row:
        """Holds back all news of what fits, up to a severity, until an end."""
        silence = await engine.with_channel(get_channel(request)).create_silence(
            body.name, body.labels, Severity.parse(body.severity), parse_duration(body.span),
            body.who, body.reason,
        )  # fmt: skip
        return json_rows.silence_to_row(silence)

    @api.post("/silences/{id}/end")
    async def end(id: str, body: ActorRequest, request: Request) -> Row:
        """Ends a silence before its time."""
        silence = await engine.with_channel(get_channel(request)).end_silence(id, body.who)
        return json_rows.silence_to_row(silence)


def _add_dead_letter_routes(api: FastAPI, engine: AlertApi) -> None:
    @api.get("/dead-letters")
    async def letters(sink: str = "", alert: str = "", limit: int = 100) -> list[Row]:
        """Notices that were given up, newest first."""
        query = Query(name=sink, id=alert, limit=max(1, min(limit, 10_000)))
        letters = await engine.list_dead_letters(query)
        return [
            json_rows.dead_letter_to_row(letter.notice, letter.error, letter.time)
            for letter in letters
        ]

    @api.post("/dead-letters/resend")
    async def resend(body: RedeliverRequest, request: Request) -> Row:
        """Has dead letters delivered again, as their alerts stand now."""
        if not body.ids and not body.every:
            return {"resent": 0}
        ids = [] if body.every else body.ids
        return {
            "resent": await engine.with_channel(get_channel(request)).requeue_dead_letters(
                ids, body.who
            )
        }


def _parse_since(text: str, end: Instant) -> Instant:
    try:
        return max(0, end - min(parse_duration(text), 366 * DAY))
    except ValueError:
        return parse_instant(text)
