"""The routes by which events come in: as JSON, and as InfluxDB line protocol.

`/api/v2/write` is the address that Telegraf's InfluxDB output, Flux's `to` and InfluxDB's client
libraries write to; they hear what InfluxDB would say.
"""

from __future__ import annotations

import zlib

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from catcher.api.guard import bounded_body
from catcher.model.problem import CatcherError, Rejected
from catcher.ports import Door

LINES = ("text/plain", "application/octet-stream", "application/vnd.influx.line-protocol")
"""The content types of line protocol, as those who send it name it."""
NEITHER = (
    "post JSON (Content-Type: application/json) or InfluxDB line protocol "
    "(Content-Type: text/plain)"
)
MOST_SHOWN = 100
_UNZIP = 16 + zlib.MAX_WBITS


def posting(api: FastAPI, door: Door, most: int) -> None:
    """Adds the routes; a body has at most so many bytes, unpacked."""

    @api.post("/events", status_code=202)
    async def post_events(request: Request, precision: str = "ns") -> dict[str, int]:
        """Events, as JSON (`{"topic", "time", "fields"}`, one or a list) or as line protocol.

        Answered once they are kept; taken whole or not at all. `precision` is that of the
        timestamps of line protocol: ns, us, ms or s.
        """
        kind = _kind(request)
        payload = await body(request, most)
        if "json" in kind:
            return {"accepted": await door.post(payload, request.state.poster)}
        if kind not in LINES:
            raise HTTPException(415, NEITHER)
        return {"accepted": await door.post_lines(payload, precision, request.state.poster)}

    @api.post("/http/{name}", status_code=202)
    async def post_named(name: str, request: Request) -> dict[str, int]:
        """A post for rules with the trigger `http: NAME`; the body is a JSON object of fields."""
        if "json" not in _kind(request):
            raise HTTPException(415, "post JSON (Content-Type: application/json)")
        payload = await body(request, most)
        return {"accepted": await door.post_named(name, payload, request.state.poster)}

    @api.post("/api/v2/write", status_code=204)
    async def write(request: Request, precision: str = "ns") -> Response:
        """Line protocol, at the address and with the answers of InfluxDB 2.

        A measurement is a topic; `org` and `bucket` mean nothing here.
        """
        payload = await body(request, most)
        try:
            await door.post_lines(payload, precision, request.state.poster)
        except (CatcherError, ValueError) as error:
            wrong = error.wrong if isinstance(error, Rejected) else (str(error),)
            return JSONResponse({**_told(wrong), "code": "unprocessable entity"}, 422)
        return Response(status_code=204)

    @api.exception_handler(Rejected)
    async def rejected(request: Request, error: Rejected) -> JSONResponse:
        told = {"error": error.message, "hint": error.hint, "wrong": error.wrong[:MOST_SHOWN]}
        return JSONResponse(told, 422)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _told(wrong: tuple[str, ...]) -> dict[str, object]:
    """What is wrong, in the one text that those who write to InfluxDB show."""
    more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
    words = "; ".join([*wrong[:MOST_SHOWN], *more, "nothing was taken"])
    return {"message": words, "error": words, "hint": ""}


async def body(request: Request, most: int) -> bytes:
    """The body of a post, unpacked; HTTPException where it is too long or cannot be read."""
    payload = await bounded_body(request, most)
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    if len(payload) <= most and packing == "gzip":
        payload = _unpacked(payload, most)
    elif packing not in ("identity", "", "gzip"):
        raise HTTPException(415, "post it as it is, or packed with gzip (Content-Encoding)")
    if len(payload) > most:
        raise HTTPException(413, f"the body is larger than {most} bytes; post fewer events at once")
    return payload


def _unpacked(payload: bytes, most: int) -> bytes:
    """What was packed, only as far as it may be long."""
    unpacking = zlib.decompressobj(_UNZIP)
    try:
        whole = unpacking.decompress(payload, most + 1)
    except zlib.error:
        raise HTTPException(400, "the body says that it is packed with gzip, and is not") from None
    if len(whole) <= most and not unpacking.eof:
        raise HTTPException(400, "the body is packed with gzip and ends too early")
    if unpacking.unused_data:
        raise HTTPException(400, "the body is packed with gzip, and more stands behind it")
    return whole
