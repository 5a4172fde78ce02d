"""A local Slack: keeps messages, checks requests as Slack does, and answers errors in its form."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "xoxb-right-token"
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

    async def call(self, request: web.Request) -> web.Response:
        if self.failures:
            return self.failures.pop(0)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refusal("invalid_auth")
        body = await _body(request)
        method = request.match_info["method"]
        known = {
            "chat.postMessage": self.post,
            "chat.update": self.update,
            "files.getUploadURLExternal": self.place,
            "files.completeUploadExternal": self.complete,
        }
        if method not in known:
            return refusal("unknown_method")
        return known[method](body)

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
    shown = [text, *(part["text"] for part in texts(blocks))]
    # Slack would show these, or worse: it would take them for a mention.
    return "unescaped_control_characters" if any(map(_CONTROL.search, shown)) else ""


def texts(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every text object of some blocks."""
    found = []
    for block in blocks:
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
        case _:
            return False


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
