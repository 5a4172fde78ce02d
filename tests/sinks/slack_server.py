"""A local Slack: keeps messages, checks requests as Slack does, and answers errors in its form."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "xoxb-right-token"
APP_TOKEN = "xapp-right-token"
CHANNELS = {"#tma-alerts": "C0TMA", "C0TMA": "C0TMA"}
_CONTROL = re.compile(r"<(?!https?://|![a-z]|!subteam\^|@[A-Z])|&(?!amp;|lt;|gt;)")


@dataclass
class Slack:
    """What was posted, by its `ts`; `failures` are answers to give first, one a request."""

    url: str = ""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    failures: list[web.Response] = field(default_factory=list)
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    whispers: list[dict[str, Any]] = field(default_factory=list)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tickets: set[str] = field(default_factory=set)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    mute: bool = False
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to hold after a request, an acknowledgement or a connection."""
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(condition)

    async def tell(self) -> None:
        async with self.moved:
            self.moved.notify_all()

    async def call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        self.asked.append(method)
        if self.failures:
            await self.tell()
            return self.failures.pop(0)
        needed = APP_TOKEN if method == "apps.connections.open" else TOKEN
        if request.headers.get("Authorization") != f"Bearer {needed}":
            await self.tell()
            return refusal("invalid_auth")
        body = await _body(request)
        known = {
            "chat.postMessage": self.post,
            "chat.update": self.update,
            "files.getUploadURLExternal": self.place,
            "files.completeUploadExternal": self.complete,
            "chat.postEphemeral": self.whisper,
            "users.info": self.person,
            "apps.connections.open": self.connect,
        }
        if method not in known:
            return refusal("unknown_method")
        answer = known[method](body)
        await self.tell()
        return answer

    def post(self, body: dict[str, Any]) -> web.Response:
        channel = CHANNELS.get(body.get("channel", ""))
        if channel is None:
            return refusal("channel_not_found")
        if wrong := wrong_message(body):
            return refusal(wrong)
        thread = body.get("thread_ts")
        if thread and thread not in self.messages:
            return refusal("thread_not_found")
        ts = f"1745452800.{len(self.messages):06}"
        self.messages[ts] = {**body, "channel": channel}
        self.notices.append(body["metadata"]["event_payload"]["id"])
        return web.json_response({"ok": True, "channel": channel, "ts": ts})

    def update(self, body: dict[str, Any]) -> web.Response:
        ts = body.get("ts", "")
        if body.get("channel") != "C0TMA":
            return refusal("channel_not_found")
        if ts not in self.messages:
            return refusal("message_not_found")
        if wrong := wrong_message(body):
            return refusal(wrong)
        self.messages[ts] |= body
        self.edits.append(ts)
        return web.json_response({"ok": True, "channel": "C0TMA", "ts": ts, "text": body["text"]})

    def place(self, body: dict[str, Any]) -> web.Response:
        if not body.get("filename") or int(body.get("length", 0)) < 1:
            return refusal("invalid_arguments")
        id = f"F{len(self.pending)}"
        self.pending[id] = {"filename": body["filename"], "length": int(body["length"])}
        address = f"{self.url.removesuffix('api/')}upload/{id}"
        return web.json_response({"ok": True, "upload_url": address, "file_id": id})

    async def upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.pending[request.match_info["id"]]["data"] = data
        return web.Response(text=f"OK - {len(data)}")

    def complete(self, body: dict[str, Any]) -> web.Response:
        if body.get("channel_id") != "C0TMA":
            return refusal("invalid_channel")
        files = body["files"]
        for one in json.loads(files) if isinstance(files, str) else files:
            kept = self.pending.pop(one["id"])
            if len(kept["data"]) != kept["length"]:
                return refusal("file_upload_size_restricted")
            self.uploads.append({**kept, **one, "thread": body.get("thread_ts")})
        return web.json_response({"ok": True, "files": [{"id": "F0", "title": "plot"}]})

    def whisper(self, body: dict[str, Any]) -> web.Response:
        if body.get("channel") != "C0TMA" or not body.get("user") or not body.get("text"):
            return refusal("invalid_arguments")
        self.whispers.append(body)
        return web.json_response({"ok": True, "message_ts": "1745452900.000001"})

    def person(self, body: dict[str, Any]) -> web.Response:
        found = self.people.get(body.get("user", ""))
        return (
            web.json_response({"ok": True, "user": found}) if found else refusal("user_not_found")
        )

    # -- Socket Mode ---------------------------------------------------------------------------

    def connect(self, body: dict[str, Any]) -> web.Response:
        ticket = f"ticket-{len(self.tickets)}"
        self.tickets.add(ticket)
        base = self.url.removesuffix("api/").replace("http://", "ws://")
        return web.json_response({"ok": True, "url": f"{base}link/?ticket={ticket}&app_id=A1"})

    async def link(self, request: web.Request) -> web.StreamResponse:
        """One connection: a ticket is good once; every envelope wants its acknowledgement."""
        if request.query.get("ticket") not in self.tickets:
            raise web.HTTPForbidden
        self.tickets.discard(str(request.query["ticket"]))
        self.tickets.add("used")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if not self.mute:
            hello = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}}
            await socket.send_json(hello)
        self.sockets.append(socket)
        await self.tell()
        async for message in socket:
            self.acknowledged.append(json.loads(message.data)["envelope_id"])
            await self.tell()
        self.sockets.remove(socket)
        await self.tell()
        return socket

    async def press(self, payload: dict[str, Any], envelope: str = "e1", which: int = -1) -> None:
        """Somebody pressed a button: Slack tells one of the connections."""
        message = {
            "envelope_id": envelope, "type": "interactive", "payload": payload,
            "accepts_response_payload": True,
        }  # fmt: skip
        await self.sockets[which].send_json(message)

    async def disconnect(self, reason: str, which: int = -1) -> None:
        """Slack says that a connection is about to end."""
        message = {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}}
        await self.sockets[which].send_json(message)


def pressed(message: dict[str, Any], words: str, user: str = "U1") -> dict[str, Any]:
    """The payload of pressing the button with these words, as Slack builds it."""
    buttons = [
        one for block in message["blocks"] if block["type"] == "actions"
        for one in block["elements"]
    ]  # fmt: skip
    button = next(one for one in buttons if one["text"]["text"] == words)
    action = {"type": "button", "block_id": "b", "action_ts": "1745452900.1", **button}
    return {
        "type": "block_actions", "api_app_id": "A1", "trigger_id": "1.2.abc",
        "user": {"id": user, "username": f"{user}-account", "name": f"{user}-account"},
        "container": {"type": "message", "channel_id": message["channel"]},
        "channel": {"id": message["channel"], "name": "tma-alerts"},
        "message": message, "actions": [action],
    }  # fmt: skip


def buttons(message: dict[str, Any]) -> list[str]:
    """The words on a message's buttons."""
    rows = [block["elements"] for block in message["blocks"] if block["type"] == "actions"]
    return [one["text"]["text"] for row in rows for one in row]


def words(message: dict[str, Any]) -> str:
    """A message as a person reads it."""
    shown = []
    for block in message["blocks"]:
        if block["type"] == "rich_text":
            elements = [one for part in block["elements"] for one in part["elements"]]
            shown.append("".join(one["text"] for one in elements))
        elif block["type"] != "actions":
            shown += [part["text"] for part in texts([block])]
    return "\n".join([*shown, *(f"[{one}]" for one in buttons(message))])


def refusal(error: str, status: int = 200, **headers: str) -> web.Response:
    """An error in Slack's form."""
    return web.json_response({"ok": False, "error": error}, status=status, headers=headers)


def wrong_message(body: dict[str, Any]) -> str:
    """What Slack would say of a message; empty where it would take it."""
    blocks, text = body.get("blocks", []), body.get("text", "")
    if not text and not blocks:
        return "no_text"
    if len(text) > 40_000:
        return "msg_too_long"
    if len(blocks) > 50 or not all(map(_right_block, blocks)):
        return "invalid_blocks"
    shown = [text, *(one["text"] for one in texts(blocks) if one["type"] == "mrkdwn")]
    # Slack would show these, or worse: it would take them for a mention.
    return "unescaped_control_characters" if any(map(_CONTROL.search, shown)) else ""


def texts(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every text object of some blocks that has one."""
    found = []
    for block in blocks:
        if block.get("type") in ("actions", "rich_text"):
            continue
        found += [block["text"]] if "text" in block else []
        found += block.get("fields", []) + block.get("elements", [])
    return found


def _right_block(block: dict[str, Any]) -> bool:
    match block["type"]:
        case "header":
            text = block["text"]
            return text["type"] == "plain_text" and 0 < len(text["text"]) <= 150
        case "section":
            parts, fields = (
                texts([{"text": block["text"]}] if "text" in block else []),
                block.get("fields", []),
            )
            return (
                bool(parts or fields)
                and all(0 < len(one["text"]) <= 3_000 for one in parts)
                and len(fields) <= 10
                and all(0 < len(one["text"]) <= 2_000 for one in fields)
            )
        case "context":
            return 0 < len(block["elements"]) <= 10
        case "rich_text":
            parts = [one for section in block["elements"] for one in section["elements"]]
            return bool(parts) and all(one["type"] == "text" and one["text"] for one in parts)
        case "actions":
            return 0 < len(block["elements"]) <= 25 and all(map(_right_button, block["elements"]))
        case _:
            return False


def _right_button(button: dict[str, Any]) -> bool:
    """docs.slack.dev/reference/block-kit/block-elements/button-element"""
    return (
        button["type"] == "button"
        and button["text"]["type"] == "plain_text"
        and len(button["text"]["text"]) <= 75
        and len(button["action_id"]) <= 255
        and len(button.get("value", "")) <= 2_000
        and len(button.get("url", "")) <= 3_000
        and button.get("style") in (None, "primary", "danger")
    )


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        return dict(await request.json())
    return {**request.query, **await request.post()}


@asynccontextmanager
async def slack_server() -> AsyncIterator[Slack]:
    """A local Slack on a free port."""
    slack = Slack()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", slack.call)
    app.router.add_post("/upload/{id}", slack.upload)
    app.router.add_get("/link/", slack.link)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    slack.url = f"http://127.0.0.1:{port}/api/"
    try:
        yield slack
    finally:
        await runner.cleanup()
