"""The routes of the API, each a line or two over the engine's door or the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from catcher.api.callbacks import Callbacks, serve_callbacks
from catcher.api.desk import DeskDoor, channel_of, desk
from catcher.api.guard import guard
from catcher.api.handbook import handbook
from catcher.api.posting import posting
from catcher.api.reading import reading
from catcher.api.signs import SelfWatch, signs
from catcher.api.tailing import tailing
from catcher.client import Client
from catcher.model import shown
from catcher.model.alert import Alert, Notice, Severity
from catcher.model.event import Event
from catcher.model.health import Health, Update
from catcher.model.problem import CatcherError, Unknown
from catcher.model.run import Firing, Run
from catcher.model.time import parse_duration, parse_instant, wall_clock
from catcher.ports import Busy, Door, Live, StoreAway

MOST_BYTES = 4 * 1024 * 1024
ABOUT = "A running engine: post events, fire, acknowledge, explain, look up, and follow."
AGAIN = "try again after a moment"
Row = dict[str, Any]


class Fire(BaseModel):
    """A firing by hand, with an event or an observation to fire it for."""

    event: Row | None = None
    observation: str = ""
    who: str = Field("operator", max_length=100)
    tell: bool = False


class Acknowledge(BaseModel):
    """Taking an alert. `severity` is the worst that the person has seen of it."""

    who: str = Field(min_length=1, max_length=100)
    severity: str | None = None
    note: str = Field("", max_length=4000)


class Note(BaseModel):
    """A note to an alert, with an address where there is more (`name=https://…`)."""

    who: str = Field(min_length=1, max_length=100)
    note: str = Field("", max_length=4000)
    link: str = Field("", max_length=2100)


class Shelve(BaseModel):
    """Putting an alert aside for a while."""

    who: str = Field(min_length=1, max_length=100)
    span: str = Field("30m", max_length=20)
    reason: str = Field(min_length=1, max_length=4000)


def create_api(
    door: DeskDoor, client: Client, live: Live, most_bytes: int = MOST_BYTES, token: str = "",
    watch: SelfWatch | None = None, callbacks: Callbacks | None = None,
    posters: Mapping[str, str] | None = None, readers: Mapping[str, str] | None = None,
) -> FastAPI:  # fmt: skip
    """The API over a running engine; `watch` tells how the engine itself does.

    `callbacks` answer signed requests, by path. `posters` are tokens for posts alone, by
    name, `readers` for reading.
    """
    api = FastAPI(title="Catcher", description=ABOUT, docs_url=None, redoc_url=None)
    guard(api, most_bytes, token, frozenset(callbacks or ()), posters, readers)
    _errors(api)
    posting(api, door, most_bytes)
    _hands(api, door)
    desk(api, door)
    _lists(api, door, client)
    _artifacts(api, client)
    reading(api, client)
    _following(api, door, live)
    tailing(api, live)
    serve_callbacks(api, callbacks or {}, door, most_bytes)
    if watch is not None:
        signs(api, watch)
    handbook(api)
    return api


def _errors(api: FastAPI) -> None:
    """Every refusal has the form `{"error", "hint"}`."""

    @api.exception_handler(CatcherError)
    async def refused(request: Request, error: CatcherError) -> JSONResponse:
        status = 404 if isinstance(error, Unknown) else 422
        return _refusal(status, error.message, error.hint)

    @api.exception_handler(StoreAway)
    async def away(request: Request, error: StoreAway) -> JSONResponse:
        return _refusal(503, error.message, error.hint or AGAIN)

    @api.exception_handler(ValueError)
    async def unreadable(request: Request, error: ValueError) -> JSONResponse:
        message, _, hint = str(error).partition("; ")
        return _refusal(422, message, hint)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        flaws = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return _refusal(422, "; ".join(flaws[:5]).removeprefix(": "), "see /docs")

    @api.exception_handler(HTTPException)
    async def declined(request: Request, error: HTTPException) -> JSONResponse:
        return _refusal(error.status_code, str(error.detail), "see /docs")

    @api.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return _refusal(503, "the engine is busy", AGAIN)


def _refusal(status: int, words: str, hint: str) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": words, "hint": hint}, status, headers=headers)


def _hands(api: FastAPI, door: DeskDoor) -> None:
    @api.post("/rules/{rule}/fire", status_code=202)
    async def fire(rule: str, body: Fire, request: Request) -> Row:
        """Fires a rule by hand: a new run, marked, that tells nobody unless asked to."""
        event = _event(body.event) if body.event else None
        through = door.through(channel_of(request))
        firing = await through.fire(rule, event, body.observation, body.who, body.tell)
        return shown.firing_row(firing)

    @api.post("/alerts/{alert}/ack")
    async def acknowledge(alert: str, body: Acknowledge, request: Request) -> Row:
        """Takes an alert; refused if it got worse than `severity` meanwhile."""
        severity = Severity.parse(body.severity) if body.severity else None
        return shown.alert_row(
            await door.through(channel_of(request)).acknowledge(
                alert, severity, body.who, body.note
            )
        )

    @api.post("/alerts/{alert}/shelve")
    async def shelve(alert: str, body: Shelve, request: Request) -> Row:
        """Puts an alert aside; one that gets worse comes back by itself."""
        span = parse_duration(body.span)
        return shown.alert_row(
            await door.through(channel_of(request)).shelve(alert, span, body.who, body.reason)
        )

    @api.post("/alerts/{alert}/unshelve")
    async def unshelve(alert: str, body: Acknowledge, request: Request) -> Row:
        """Brings a shelved alert back."""
        return shown.alert_row(await door.through(channel_of(request)).unshelve(alert, body.who))

    @api.post("/alerts/{alert}/note")
    async def note(alert: str, body: Note, request: Request) -> Row:
        """Writes a note to an alert."""
        return shown.alert_row(
            await door.through(channel_of(request)).note(alert, body.who, body.note, body.link)
        )


def _event(row: Row) -> Event:
    fields, time = row.get("fields", {}), row.get("time", "")
    named = isinstance(row.get("topic"), str) and isinstance(time, str | int | float)
    if not named or not isinstance(fields, dict):
        raise CatcherError(
            "the event is not of the form of a recorded stream",
            'write {"topic": "…", "time": "…", "fields": {…}}',
        )
    return Event(row["topic"], parse_instant(time) if time else wall_clock(), fields, "hand")


def _lists(api: FastAPI, door: Door, client: Client) -> None:
    @api.get("/rules")
    async def rules() -> list[Row]:
        """Every rule; a broken one with its problems."""
        return [dict(row) for row in door.rules()]

    @api.get("/rules/{rule}/explain")
    async def explain(rule: str, at: str = "") -> list[Row]:
        """Why a rule fired or did not: its last decisions, and what is missing."""
        moment = parse_instant(at) if at else None
        return [dict(row) for row in door.explain(rule, moment)]

    @api.get("/runs")
    async def runs(
        rule: str = "", state: str = "", observation: str = "", limit: int = 100
    ) -> list[Row]:
        """Runs, newest first."""
        found = await client.runs(rule=rule, state=state, obs=observation, limit=_bounded(limit))
        return found.rows()

    @api.get("/runs/{run}")
    async def run(run: str) -> Row:
        """Everything about one run."""
        return shown.run_page(await client.run(run))

    @api.get("/firings")
    async def firings(rule: str = "", limit: int = 100) -> list[Row]:
        """Firings with their reasons, newest first."""
        return (await client.firings(rule=rule, limit=_bounded(limit))).rows()

    @api.get("/alerts")
    async def alerts(rule: str = "", state: str = "", limit: int = 100) -> list[Row]:
        """Alerts, newest first; `state=active` leaves out what is over."""
        return (await client.alerts(rule=rule, state=state, limit=_bounded(limit))).rows()

    @api.get("/metrics/{name}")
    async def metrics(name: str, rule: str = "", limit: int = 100) -> list[Row]:
        """Values of one metric, newest first."""
        return (await client.metrics(name, rule=rule, limit=_bounded(limit))).rows()


def _artifacts(api: FastAPI, client: Client) -> None:
    @api.get("/artifacts")
    async def artifacts(rule: str = "", observation: str = "", limit: int = 100) -> list[Row]:
        """What was kept, newest first; each `key` opens at `/artifacts/KEY`."""
        limit = _bounded(limit)
        return (await client.artifacts(rule=rule, obs=observation, limit=limit)).rows()

    @api.get("/artifacts/{key:path}")
    async def artifact(key: str) -> Response:
        """The bytes of one artifact. Pages among them run in a sandbox."""
        headers = {
            "Content-Security-Policy": "sandbox allow-scripts",
            "X-Content-Type-Options": "nosniff",
        }
        try:
            data = await client.read(key)
        except StoreAway:
            raise
        except CatcherError as error:
            raise Unknown(error.message, error.hint) from error
        return Response(data, media_type=shown.mime(key), headers=headers)


def _bounded(limit: int) -> int:
    return max(1, min(limit, 10_000))


def _following(api: FastAPI, door: Door, live: Live) -> None:
    @api.get("/health")
    async def health() -> list[Row]:
        """How sources, stores, executors and sinks are doing."""
        return [shown.health_row(one) for one in door.health()]

    @api.get("/stream")
    async def stream() -> StreamingResponse:
        """What happens, as it happens (server-sent events): firings, runs, alerts, notices."""
        return StreamingResponse(_updates(live), media_type="text/event-stream")


async def _updates(live: Live) -> AsyncIterator[str]:
    async with live.watch() as updates:
        yield ": following\n\n"
        async for update in updates:
            yield f"event: {update.kind}\ndata: {json.dumps(_update_row(update))}\n\n"


def _update_row(update: Update) -> Row:
    body = update.body
    match body:
        case Firing():
            return shown.firing_row(body)
        case Run():
            return shown.run_row(body)
        case Alert():
            return shown.alert_row(body)
        case Notice():
            return shown.notice_row(body)
        case Health():
            return shown.health_row(body)
    return {"kind": update.kind, "time": shown.instant(update.time), "text": shown.plain(body)}
