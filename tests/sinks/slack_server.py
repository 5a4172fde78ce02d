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
class FakeSlack:
    """What was posted, by its `ts`; `error_responses` are answers to give first, one a request."""

    url: str = ""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    notification_ids: list[str] = field(default_factory=list)
    error_responses: list[web.Response] = field(default_factory=list)
    pending_files: dict[str, dict[str, Any]] = field(default_factory=dict)
    ephemerals: list[dict[str, Any]] = field(default_factory=list)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    called_methods: list[str] = field(default_factory=list)
    tickets: set[str] = field(default_factory=set)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    acknowledged_envelopes: list[str] = field(default_factory=list)
    skip_hello: bool = False
    state_changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to hold after a request, an acknowledgement or a connection."""
        async with asyncio.timeout(20), self.state_changed:
            await self.state_changed.wait_for(condition)

    async def notify_waiters(self) -> None:
        async with self.state_changed:
            self.state_changed.notify_all()

    async def handle_call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        self.called_methods.append(method)
        if self.error_responses:
            await self.notify_waiters()
            return self.error_responses.pop(0)
        expected_token = APP_TOKEN if method == "apps.connections.open" else TOKEN
        if request.headers.get("Authorization") != f"Bearer {expected_token}":
            await self.notify_waiters()
            return error_response("invalid_auth")
        body = await _read_body(request)
        handlers = {
            "chat.postMessage": self.post_message,
            "chat.update": self.update_message,
            "files.getUploadURLExternal": self.create_upload,
            "files.completeUploadExternal": self.complete_upload,
            "chat.postEphemeral": self.post_ephemeral,
            "users.info": self.get_user,
            "apps.connections.open": self.open_connection,
        }
        if method not in handlers:
            return error_response("unknown_method")
        response = handlers[method](body)
        await self.notify_waiters()
        return response

    def post_message(self, body: dict[str, Any]) -> web.Response:
        channel = CHANNELS.get(body.get("channel", ""))
        if channel is None:
            return error_response("channel_not_found")
        if error := find_message_error(body):
            return error_response(error)
        thread = body.get("thread_ts")
        if thread and thread not in self.messages:
            return error_response("thread_not_found")
        ts = f"1745452800.{len(self.messages):06}"
        self.messages[ts] = {**body, "channel": channel}
        self.notification_ids.append(body["metadata"]["event_payload"]["id"])
        return web.json_response({"ok": True, "channel": channel, "ts": ts})

    def update_message(self, body: dict[str, Any]) -> web.Response:
        ts = body.get("ts", "")
        if body.get("channel") != "C0TMA":
            return error_response("channel_not_found")
        if ts not in self.messages:
            return error_response("message_not_found")
        if error := find_message_error(body):
            return error_response(error)
        self.messages[ts] |= body
        self.edits.append(ts)
        return web.json_response({"ok": True, "channel": "C0TMA", "ts": ts, "text": body["text"]})

    def create_upload(self, body: dict[str, Any]) -> web.Response:
        if not body.get("filename") or int(body.get("length", 0)) < 1:
            return error_response("invalid_arguments")
        file_id = f"F{len(self.pending_files)}"
        self.pending_files[file_id] = {"filename": body["filename"], "length": int(body["length"])}
        upload_url = f"{self.url.removesuffix('api/')}upload/{file_id}"
        return web.json_response({"ok": True, "upload_url": upload_url, "file_id": file_id})

    async def receive_upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.pending_files[request.match_info["id"]]["data"] = data
        return web.Response(text=f"OK - {len(data)}")

    def complete_upload(self, body: dict[str, Any]) -> web.Response:
        if body.get("channel_id") != "C0TMA":
            return error_response("invalid_channel")
        files = body["files"]
        for file in json.loads(files) if isinstance(files, str) else files:
            upload = self.pending_files.pop(file["id"])
            if len(upload["data"]) != upload["length"]:
                return error_response("file_upload_size_restricted")
            self.uploads.append({**upload, **file, "thread": body.get("thread_ts")})
        return web.json_response({"ok": True, "files": [{"id": "F0", "title": "plot"}]})

    def post_ephemeral(self, body: dict[str, Any]) -> web.Response:
        if body.get("channel") != "C0TMA" or not body.get("user") or not body.get("text"):
            return error_response("invalid_arguments")
        self.ephemerals.append(body)
        return web.json_response({"ok": True, "message_ts": "1745452900.000001"})

    def get_user(self, body: dict[str, Any]) -> web.Response:
        user = self.users.get(body.get("user", ""))
        return (
            web.json_response({"ok": True, "user": user})
            if user
            else error_response("user_not_found")
        )

    # -- Socket Mode ---------------------------------------------------------------------------

    def open_connection(self, body: dict[str, Any]) -> web.Response:
        ticket = f"ticket-{len(self.tickets)}"
        self.tickets.add(ticket)
        base = self.url.removesuffix("api/").replace("http://", "ws://")
        return web.json_response({"ok": True, "url": f"{base}link/?ticket={ticket}&app_id=A1"})

    async def serve_socket(self, request: web.Request) -> web.StreamResponse:
        """One connection: a ticket is good once; every envelope wants its acknowledgement."""
        if request.query.get("ticket") not in self.tickets:
            raise web.HTTPForbidden
        self.tickets.discard(str(request.query["ticket"]))
        self.tickets.add("used")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if not self.skip_hello:
            hello = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}}
            await socket.send_json(hello)
        self.sockets.append(socket)
        await self.notify_waiters()
        async for message in socket:
            self.acknowledged_envelopes.append(json.loads(message.data)["envelope_id"])
            await self.notify_waiters()
        self.sockets.remove(socket)
        await self.notify_waiters()
        return socket

    async def send_press(
        self, payload: dict[str, Any], envelope_id: str = "e1", index: int = -1
    ) -> None:
        """Somebody pressed a button: Slack tells one of the connections."""
        message = {
            "envelope_id": envelope_id, "type": "interactive", "payload": payload,
            "accepts_response_payload": True,
        }  # fmt: skip
        await self.sockets[index].send_json(message)

    async def send_disconnect(self, reason: str, index: int = -1) -> None:
        """Slack says that a connection is about to end."""
        message = {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}}
        await self.sockets[index].send_json(message)


def build_press_payload(message: dict[str, Any], label: str, user: str = "U1") -> dict[str, Any]:
    """The payload of pressing the button with these words, as Slack builds it."""
    elements = [
        element for block in message["blocks"] if block["type"] == "actions"
        for element in block["elements"]
    ]  # fmt: skip
    button = next(element for element in elements if element["text"]["text"] == label)
    action = {"type": "button", "block_id": "b", "action_ts": "1745452900.1", **button}
    return {
        "type": "block_actions", "api_app_id": "A1", "trigger_id": "1.2.abc",
        "user": {"id": user, "username": f"{user}-account", "name": f"{user}-account"},
        "container": {"type": "message", "channel_id": message["channel"]},
        "channel": {"id": message["channel"], "name": "tma-alerts"},
        "message": message, "actions": [action],
    }  # fmt: skip


def list_button_labels(message: dict[str, Any]) -> list[str]:
    """The words on a message's buttons."""
    button_rows = [block["elements"] for block in message["blocks"] if block["type"] == "actions"]
    return [button["text"]["text"] for button_row in button_rows for button in button_row]


def render_message_text(message: dict[str, Any]) -> str:
    """A message as a person reads it."""
    lines = []
    for block in message["blocks"]:
        if block["type"] == "rich_text":
            elements = [element for part in block["elements"] for element in part["elements"]]
            lines.append("".join(element["text"] for element in elements))
        elif block["type"] != "actions":
            lines += [text_object["text"] for text_object in list_text_objects([block])]
    return "\n".join([*lines, *(f"[{label}]" for label in list_button_labels(message))])


def error_response(error: str, status: int = 200, **headers: str) -> web.Response:
    """An error in Slack's form."""
    return web.json_response({"ok": False, "error": error}, status=status, headers=headers)


def find_message_error(body: dict[str, Any]) -> str:
    """What Slack would say of a message; empty where it would take it."""
    blocks, text = body.get("blocks", []), body.get("text", "")
    if not text and not blocks:
        return "no_text"
    if len(text) > 40_000:
        return "msg_too_long"
    if len(blocks) > 50 or not all(map(_is_valid_block, blocks)):
        return "invalid_blocks"
    shown_texts = [
        text,
        *(
            text_object["text"]
            for text_object in list_text_objects(blocks)
            if text_object["type"] == "mrkdwn"
        ),
    ]
    # Slack would show these, or worse: it would take them for a mention.
    return "unescaped_control_characters" if any(map(_CONTROL.search, shown_texts)) else ""


def list_text_objects(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every text object of some blocks that has one."""
    text_objects = []
    for block in blocks:
        if block.get("type") in ("actions", "rich_text"):
            continue
        text_objects += [block["text"]] if "text" in block else []
        text_objects += block.get("fields", []) + block.get("elements", [])
    return text_objects


def _is_valid_block(block: dict[str, Any]) -> bool:
    match block["type"]:
        case "header":
            text = block["text"]
            return text["type"] == "plain_text" and 0 < len(text["text"]) <= 150
        case "section":
            items, fields = (
                list_text_objects([{"text": block["text"]}] if "text" in block else []),
                block.get("fields", []),
            )
            return (
                bool(items or fields)
                and all(0 < len(text_object["text"]) <= 3_000 for text_object in items)
                and len(fields) <= 10
                and all(0 < len(text_object["text"]) <= 2_000 for text_object in fields)
            )
        case "context":
            return 0 < len(block["elements"]) <= 10
        case "rich_text":
            items = [element for section in block["elements"] for element in section["elements"]]
            return bool(items) and all(
                element["type"] == "text" and element["text"] for element in items
            )
        case "actions":
            return 0 < len(block["elements"]) <= 25 and all(
                map(_is_valid_button, block["elements"])
            )
        case _:
            return False


def _is_valid_button(button: dict[str, Any]) -> bool:
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


async def _read_body(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        return dict(await request.json())
    return {**request.query, **await request.post()}


@asynccontextmanager
async def slack_server() -> AsyncIterator[FakeSlack]:
    """A local Slack on a free port."""
    slack = FakeSlack()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", slack.handle_call)
    app.router.add_post("/upload/{id}", slack.receive_upload)
    app.router.add_get("/link/", slack.serve_socket)
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
