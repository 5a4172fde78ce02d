"""The routes of the API, each a line or two over the engine's API or the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from catcher.api.access_control import add_access_control
from catcher.api.alert_routes import AlertApi, add_alert_routes, get_channel
from catcher.api.callbacks import Callbacks, add_callback_routes
from catcher.api.docs_page import add_docs_page
from catcher.api.health_routes import MonitoringApi, add_health_routes
from catcher.api.ingest_routes import add_ingest_routes
from catcher.api.query_routes import add_query_routes
from catcher.api.tail_routes import add_tail_route
from catcher.client import Client
from catcher.model import json_rows
from catcher.model.alert import Alert, Notification, Severity
from catcher.model.errors import CatcherError, NotFound
from catcher.model.event import Event
from catcher.model.health import Health, LiveUpdate
from catcher.model.run import Firing, Run
from catcher.model.time import parse_duration, parse_instant, wall_clock
from catcher.ports import EngineApi, EngineBusy, StoreUnavailable, UpdateFeed

MAX_BODY_BYTES = 4 * 1024 * 1024
API_DESCRIPTION = "A running engine: post events, fire, acknowledge, explain, look up, and follow."
RETRY_HINT = "try again after a moment"
Row = dict[str, Any]


class FireRequest(BaseModel):
    """A firing by hand, with an event or an observation to fire it for."""

    event: Row | None = None
    observation: str = ""
    who: str = Field("operator", max_length=100)
    tell: bool = False


class AcknowledgeRequest(BaseModel):
    """Taking an alert. `severity` is the worst that the person has seen of it."""

    who: str = Field(min_length=1, max_length=100)
    severity: str | None = None
    note: str = Field("", max_length=4000)


class CommentRequest(BaseModel):
    """A note to an alert, with an address where there is more (`name=https://…`)."""

    who: str = Field(min_length=1, max_length=100)
    note: str = Field("", max_length=4000)
    link: str = Field("", max_length=2100)


class ShelveRequest(BaseModel):
    """Putting an alert aside for a while."""

    who: str = Field(min_length=1, max_length=100)
    span: str = Field("30m", max_length=20)
    reason: str = Field(min_length=1, max_length=4000)


def create_api(
    engine: AlertApi,
    client: Client,
    feed: UpdateFeed,
    max_body_bytes: int = MAX_BODY_BYTES,
    token: str = "",
    monitoring: MonitoringApi | None = None,
    callbacks: Callbacks | None = None,
    posters: Mapping[str, str] | None = None,
    readers: Mapping[str, str] | None = None,
) -> FastAPI:
    """Creates the API over a running engine; `monitoring` reports the engine's own status.
    `callbacks` answer signed requests, by path. `posters` are tokens for posting only, by name,
    `readers` for reading only.
    """
    api = FastAPI(title="Catcher", description=API_DESCRIPTION, docs_url=None, redoc_url=None)
    add_access_control(api, max_body_bytes, token, frozenset(callbacks or ()), posters, readers)
    _add_error_handlers(api)
    add_ingest_routes(api, engine, max_body_bytes)
    _add_command_routes(api, engine)
    add_alert_routes(api, engine)
    _add_lookup_routes(api, engine, client)
    _add_artifact_routes(api, client)
    add_query_routes(api, client)
    _add_live_status_routes(api, engine, feed)
    add_tail_route(api, feed)
    add_callback_routes(api, callbacks or {}, engine, max_body_bytes)
    if monitoring is not None:
        add_health_routes(api, monitoring)
    add_docs_page(api)
    return api


def _add_error_handlers(api: FastAPI) -> None:
    """Gives every refusal the form `{"error", "hint"}`."""

    @api.exception_handler(CatcherError)
    async def handle_catcher_error(request: Request, error: CatcherError) -> JSONResponse:
        status = 404 if isinstance(error, NotFound) else 422
        return _build_error_response(status, error.message, error.hint)

    @api.exception_handler(StoreUnavailable)
    async def handle_store_unavailable(request: Request, error: StoreUnavailable) -> JSONResponse:
        return _build_error_response(503, error.message, error.hint or RETRY_HINT)

    @api.exception_handler(ValueError)
    async def handle_value_error(request: Request, error: ValueError) -> JSONResponse:
        message, _, hint = str(error).partition("; ")
        return _build_error_response(422, message, hint)

    @api.exception_handler(RequestValidationError)
    async def handle_validation_error(
        request: Request, error: RequestValidationError
    ) -> JSONResponse:
        messages = [
            f"{'.'.join(map(str, detail['loc'][1:]))}: {detail['msg']}" for detail in error.errors()
        ]
        return _build_error_response(422, "; ".join(messages[:5]).removeprefix(": "), "see /docs")

    @api.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> JSONResponse:
        return _build_error_response(error.status_code, str(error.detail), "see /docs")

    @api.exception_handler(EngineBusy)
    async def handle_engine_busy(request: Request, error: EngineBusy) -> JSONResponse:
        return _build_error_response(503, "the engine is busy", RETRY_HINT)


def _build_error_response(status: int, message: str, hint: str) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": message, "hint": hint}, status, headers=headers)


def _add_command_routes(api: FastAPI, engine: AlertApi) -> None:
    @api.post("/rules/{rule}/fire", status_code=202)
    async def fire(rule: str, body: FireRequest, request: Request) -> Row:
        """Fires a rule by hand: a new run, marked, that tells nobody unless asked to."""
        event = _parse_event(body.event) if body.event else None
        channel_engine = engine.with_channel(get_channel(request))
        firing = await channel_engine.fire_rule(rule, event, body.observation, body.who, body.tell)
        return json_rows.firing_to_row(firing)

    @api.post("/alerts/{alert}/ack")
    async def acknowledge(alert: str, body: AcknowledgeRequest, request: Request) -> Row:
        """Takes an alert; refused if it got worse than `severity` meanwhile."""
        severity = Severity.parse(body.severity) if body.severity else None
        return json_rows.alert_to_row(
            await engine.with_channel(get_channel(request)).acknowledge_alert(
                alert, severity, body.who, body.note
            )
        )

    @api.post("/alerts/{alert}/shelve")
    async def shelve(alert: str, body: ShelveRequest, request: Request) -> Row:
        """Puts an alert aside; one that gets worse comes back by itself."""
        span = parse_duration(body.span)
        return json_rows.alert_to_row(
            await engine.with_channel(get_channel(request)).shelve_alert(
                alert, span, body.who, body.reason
            )
        )

    @api.post("/alerts/{alert}/unshelve")
    async def unshelve(alert: str, body: AcknowledgeRequest, request: Request) -> Row:
        """Brings a shelved alert back."""
        return json_rows.alert_to_row(
            await engine.with_channel(get_channel(request)).unshelve_alert(alert, body.who)
        )

    @api.post("/alerts/{alert}/note")
    async def note(alert: str, body: CommentRequest, request: Request) -> Row:
        """Writes a note to an alert."""
        return json_rows.alert_to_row(
            await engine.with_channel(get_channel(request)).add_comment(
                alert, body.who, body.note, body.link
            )
        )


def _parse_event(row: Row) -> Event:
    fields, time = row.get("fields", {}), row.get("time", "")
    is_valid = isinstance(row.get("topic"), str) and isinstance(time, str | int | float)
    if not is_valid or not isinstance(fields, dict):
        raise CatcherError(
            "the event is not of the form of a recorded stream",
            'write {"topic": "…", "time": "…", "fields": {…}}',
        )
    return Event(row["topic"], parse_instant(time) if time else wall_clock(), fields, "hand")


def _add_lookup_routes(api: FastAPI, engine: EngineApi, client: Client) -> None:
    @api.get("/rules")
    async def rules() -> list[Row]:
        """Every rule; a broken one with its problems."""
        return [dict(row) for row in engine.list_rules()]

    @api.get("/rules/{rule}/explain")
    async def explain(rule: str, at: str = "") -> list[Row]:
        """Why a rule fired or did not: its last decisions, and what is missing."""
        instant = parse_instant(at) if at else None
        return [dict(row) for row in engine.explain_rule(rule, instant)]

    @api.get("/runs")
    async def runs(
        rule: str = "", state: str = "", observation: str = "", limit: int = 100
    ) -> list[Row]:
        """Runs, newest first."""
        table = await client.runs(
            rule=rule, state=state, obs=observation, limit=_clamp_limit(limit)
        )
        return table.rows()

    @api.get("/runs/{run}")
    async def run(run: str) -> Row:
        """Everything about one run."""
        return json_rows.run_to_detailed_row(await client.run(run))

    @api.get("/firings")
    async def firings(rule: str = "", limit: int = 100) -> list[Row]:
        """Firings with their reasons, newest first."""
        return (await client.firings(rule=rule, limit=_clamp_limit(limit))).rows()

    @api.get("/alerts")
    async def alerts(rule: str = "", state: str = "", limit: int = 100) -> list[Row]:
        """Alerts, newest first; `state=active` leaves out what is over."""
        return (await client.alerts(rule=rule, state=state, limit=_clamp_limit(limit))).rows()

    @api.get("/metrics/{name}")
    async def metrics(name: str, rule: str = "", limit: int = 100) -> list[Row]:
        """Values of one metric, newest first."""
        return (await client.metrics(name, rule=rule, limit=_clamp_limit(limit))).rows()


def _add_artifact_routes(api: FastAPI, client: Client) -> None:
    @api.get("/artifacts")
    async def artifacts(rule: str = "", observation: str = "", limit: int = 100) -> list[Row]:
        """What was kept, newest first; each `key` opens at `/artifacts/KEY`."""
        limit = _clamp_limit(limit)
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
        except StoreUnavailable:
            raise
        except CatcherError as error:
            raise NotFound(error.message, error.hint) from error
        return Response(data, media_type=json_rows.guess_media_type(key), headers=headers)


def _clamp_limit(limit: int) -> int:
    return max(1, min(limit, 10_000))


def _add_live_status_routes(api: FastAPI, engine: EngineApi, feed: UpdateFeed) -> None:
    @api.get("/health")
    async def health() -> list[Row]:
        """How sources, stores, executors and sinks are doing."""
        return [json_rows.health_to_row(component) for component in engine.list_health()]

    @api.get("/stream")
    async def stream() -> StreamingResponse:
        """What happens, as it happens (server-sent events): firings, runs, alerts, notices."""
        return StreamingResponse(_stream_updates(feed), media_type="text/event-stream")


async def _stream_updates(feed: UpdateFeed) -> AsyncIterator[str]:
    async with feed.subscribe() as updates:
        yield ": following\n\n"
        async for update in updates:
            yield f"event: {update.kind}\ndata: {json.dumps(_update_to_row(update))}\n\n"


def _update_to_row(update: LiveUpdate) -> Row:
    body = update.body
    match body:
        case Firing():
            return json_rows.firing_to_row(body)
        case Run():
            return json_rows.run_to_row(body)
        case Alert():
            return json_rows.alert_to_row(body)
        case Notification():
            return json_rows.notification_to_row(body)
        case Health():
            return json_rows.health_to_row(body)
    return {
        "kind": update.kind,
        "time": json_rows.format_optional_instant(update.time),
        "text": json_rows.to_json_value(body),
    }
