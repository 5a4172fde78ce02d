"""Executes button presses in Slack through the engine's API."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from catcher.model.alert import Alert, Severity
from catcher.model.errors import CatcherError
from catcher.model.text import escape_slack, sanitize_single_line
from catcher.model.time import MINUTE
from catcher.ports import EngineApi, EngineBusy, SinkError
from catcher.sinks.slack_blocks import ACKNOWLEDGE_ACTION, SHELVE_ACTION, UNSHELVE_ACTION

SHELVING_SPAN = 30 * MINUTE
_SHELVE_REASON = "shelved in Slack"
_MAX_PENDING = 100
_MAX_NAMES = 1_000
_ACTION_LABELS = {
    ACKNOWLEDGE_ACTION: "acknowledged",
    SHELVE_ACTION: "shelved",
    UNSHELVE_ACTION: "unshelved",
}


class SlackUsers(Protocol):
    """The Slack calls that an action needs."""

    async def post_ephemeral(self, channel: str, user: str, text: str) -> None: ...
    async def fetch_user_name(self, user: str) -> str: ...


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """One button press: what the person saw, where, and who it was."""

    action: str
    alert: str
    severity: Severity
    episode: int
    user: str
    user_name: str
    channel: str


def parse_button_presses(payload: Mapping[str, Any]) -> Iterator[ButtonPress]:
    """Yields the presses of our own buttons in a `block_actions` payload; ignores anything else."""
    if payload.get("type") != "block_actions":
        return
    user, channel = (
        _get_mapping(payload, "user"),
        _get_mapping(payload, "channel") or _get_mapping(payload, "container"),
    )
    actions = payload.get("actions")
    for action in actions if isinstance(actions, list) else ():
        if not isinstance(action, Mapping) or action.get("action_id") not in _ACTION_LABELS:
            continue
        try:
            button_value = json.loads(str(action.get("value", "")))
            yield ButtonPress(
                str(action["action_id"]),
                str(button_value["alert"])[:200],
                Severity(button_value["severity"]),
                int(button_value["episode"]),
                str(user["id"])[:50],
                sanitize_single_line(user.get("username") or user.get("name") or user["id"], 60),
                str(channel.get("id") or channel.get("channel_id") or "")[:50],
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue


class ButtonHandler:
    """Executes presses in order; a refusal is shown to the person who pressed, and nobody else.

    `user_names` are the names by which Catcher knows people; other names are fetched from Slack.
    """

    def __init__(
        self,
        get_engine_api: Callable[[], EngineApi],
        list_active: Callable[[], Iterable[Alert]],
        slack_users: SlackUsers,
        user_names: Mapping[str, str],
    ) -> None:
        self._get_engine_api, self._list_active, self._slack_users = (
            get_engine_api,
            list_active,
            slack_users,
        )
        self._user_names = user_names
        self._name_cache: OrderedDict[str, str] = OrderedDict()
        self._queue: asyncio.Queue[ButtonPress] = asyncio.Queue(_MAX_PENDING)
        self.counts = {"pressed": 0, "done": 0, "refused": 0, "dropped": 0, "untold": 0}

    def enqueue(self, payload: Mapping[str, Any]) -> bool:
        """Queues the presses and returns at once; False if the queue is full."""
        for press in parse_button_presses(payload):
            self.counts["pressed"] += 1
            try:
                self._queue.put_nowait(press)
            except asyncio.QueueFull:
                self.counts["dropped"] += 1
                return False
        return True

    async def run(self) -> None:
        """Executes presses until cancelled."""
        while True:
            press = await self._queue.get()
            try:
                await self._execute_press(press)
            except (CatcherError, EngineBusy) as refusal:
                self.counts["refused"] += 1
                await self._notify_user(press, _format_refusal(press, refusal))
            else:
                self.counts["done"] += 1

    async def _execute_press(self, press: ButtonPress) -> None:
        actor, engine_api = await self._resolve_user_name(press), self._get_engine_api()
        alert = next(
            (candidate for candidate in self._list_active() if candidate.id == press.alert), None
        )
        if alert is not None and alert.episode != press.episode:
            raise CatcherError(
                f"{alert.name} was over and has come back since that message",
                "look at its new message",
            )
        if press.action == ACKNOWLEDGE_ACTION:
            await engine_api.acknowledge_alert(press.alert, press.severity, actor, "")
        elif press.action == SHELVE_ACTION:
            await engine_api.shelve_alert(press.alert, SHELVING_SPAN, actor, _SHELVE_REASON)
        else:
            await engine_api.unshelve_alert(press.alert, actor)

    async def _resolve_user_name(self, press: ButtonPress) -> str:
        """Returns the person's name in Catcher, or in Slack; the account name if Slack has none."""
        known_name = self._user_names.get(press.user) or self._name_cache.get(press.user)
        if known_name:
            return known_name
        try:
            lookup: Awaitable[str] = self._slack_users.fetch_user_name(press.user)
            user_name = await lookup or press.user_name
        except SinkError:
            return press.user_name
        self._name_cache[press.user] = user_name
        if len(self._name_cache) > _MAX_NAMES:
            self._name_cache.popitem(last=False)
        return user_name

    async def _notify_user(self, press: ButtonPress, text: str) -> None:
        try:
            await self._slack_users.post_ephemeral(press.channel, press.user, text)
        except SinkError:
            self.counts["untold"] += 1


def _format_refusal(press: ButtonPress, error: CatcherError | EngineBusy) -> str:
    error_text, hint = str(error), "press it again in a moment"
    if isinstance(error, CatcherError):
        error_text, hint = error.message, error.hint
    text = f"Not {_ACTION_LABELS[press.action]}: {error_text}" + (
        f". {hint.capitalize()}." if hint else ""
    )
    return escape_slack(sanitize_single_line(text, 1_000))


def _get_mapping(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = payload.get(key)
    return value if isinstance(value, Mapping) else {}
