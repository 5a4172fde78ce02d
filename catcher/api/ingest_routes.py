"""The routes that receive events: as JSON, and as InfluxDB line protocol.
`/api/v2/write` is the address that Telegraf's InfluxDB output, Flux's `to` and InfluxDB's client
libraries write to; they get the answers of InfluxDB.
"""

from __future__ import annotations

import zlib

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from catcher.api.access_control import read_bounded_body
from catcher.model.errors import BatchRejected, CatcherError
from catcher.ports import EngineApi

LINE_PROTOCOL_TYPES = (
    "text/plain",
    "application/octet-stream",
    "application/vnd.influx.line-protocol",
)
"""The content types that senders of line protocol use."""
UNSUPPORTED_TYPE = (
    "post JSON (Content-Type: application/json) or InfluxDB line protocol "
    "(Content-Type: text/plain)"
)
MAX_REPORTED_ERRORS = 100
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS


def add_ingest_routes(api: FastAPI, engine: EngineApi, max_bytes: int) -> None:
    """Adds the routes; a body has at most `max_bytes`, decompressed."""

    @api.post("/events", status_code=202)
    async def post_events(request: Request, precision: str = "ns") -> dict[str, int]:
        """Events, as JSON (`{"topic", "time", "fields"}`, one or a list) or as line protocol.

        Answered once they are kept; taken whole or not at all. `precision` is that of the
        timestamps of line protocol: ns, us, ms or s.
        """
        content_type = _get_content_type(request)
        payload = await read_decompressed_body(request, max_bytes)
        if "json" in content_type:
            return {"accepted": await engine.ingest_json_events(payload, request.state.poster)}
        if content_type not in LINE_PROTOCOL_TYPES:
            raise HTTPException(415, UNSUPPORTED_TYPE)
        return {
            "accepted": await engine.ingest_line_protocol(payload, precision, request.state.poster)
        }

    @api.post("/http/{name}", status_code=202)
    async def post_named(name: str, request: Request) -> dict[str, int]:
        """A post for rules with the trigger `http: NAME`; the body is a JSON object of fields."""
        if "json" not in _get_content_type(request):
            raise HTTPException(415, "post JSON (Content-Type: application/json)")
        payload = await read_decompressed_body(request, max_bytes)
        return {"accepted": await engine.ingest_webhook(name, payload, request.state.poster)}

    @api.post("/api/v2/write", status_code=204)
    async def write(request: Request, precision: str = "ns") -> Response:
        """Line protocol, at the address and with the answers of InfluxDB 2.

        A measurement is a topic; `org` and `bucket` mean nothing here.
        """
        payload = await read_decompressed_body(request, max_bytes)
        try:
            await engine.ingest_line_protocol(payload, precision, request.state.poster)
        except (CatcherError, ValueError) as error:
            errors = error.errors if isinstance(error, BatchRejected) else (str(error),)
            return JSONResponse(
                {**_build_influx_error(errors), "code": "unprocessable entity"}, 422
            )
        return Response(status_code=204)

    @api.exception_handler(BatchRejected)
    async def handle_batch_rejected(request: Request, error: BatchRejected) -> JSONResponse:
        content = {
            "error": error.message,
            "hint": error.hint,
            "wrong": error.errors[:MAX_REPORTED_ERRORS],
        }
        return JSONResponse(content, 422)


def _get_content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _build_influx_error(errors: tuple[str, ...]) -> dict[str, object]:
    """Builds an error in InfluxDB's form: one text, which InfluxDB's clients show."""
    omitted = (
        [f"and {len(errors) - MAX_REPORTED_ERRORS} more"]
        if len(errors) > MAX_REPORTED_ERRORS
        else []
    )
    message = "; ".join([*errors[:MAX_REPORTED_ERRORS], *omitted, "nothing was taken"])
    return {"message": message, "error": message, "hint": ""}


async def read_decompressed_body(request: Request, max_bytes: int) -> bytes:
    """Reads the body of a post, decompressed.
    Raises HTTPException if it is too long or cannot be read.
    """
    payload = await read_bounded_body(request, max_bytes)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if len(payload) <= max_bytes and encoding == "gzip":
        payload = _decompress_gzip(payload, max_bytes)
    elif encoding not in ("identity", "", "gzip"):
        raise HTTPException(415, "post it as it is, or packed with gzip (Content-Encoding)")
    if len(payload) > max_bytes:
        raise HTTPException(
            413, f"the body is larger than {max_bytes} bytes; post fewer events at once"
        )
    return payload


def _decompress_gzip(payload: bytes, max_bytes: int) -> bytes:
    """Decompresses a body, but only up to its limit."""
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        decompressed = decompressor.decompress(payload, max_bytes + 1)
    except zlib.error:
        raise HTTPException(400, "the body says that it is packed with gzip, and is not") from None
    if len(decompressed) <= max_bytes and not decompressor.eof:
        raise HTTPException(400, "the body is packed with gzip and ends too early")
    if decompressor.unused_data:
        raise HTTPException(400, "the body is packed with gzip, and more stands behind it")
    return decompressed
