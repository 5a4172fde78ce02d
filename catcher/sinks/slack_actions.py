"""What people press under a message in Slack, done through the engine's door."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from catcher.model.alert import Alert, Severity
from catcher.model.problem import CatcherError
from catcher.model.text import entities, plain
from catcher.model.time import MINUTE
from catcher.ports import Busy, Door, SinkError
from catcher.sinks.slack_blocks import ACKNOWLEDGE, SHELVE, UNSHELVE

SHELF = 30 * MINUTE
_REASON = "shelved in Slack"
_WAITING = 100
_MOST_NAMES = 1_000
_DEEDS = {ACKNOWLEDGE: "acknowledged", SHELVE: "shelved", UNSHELVE: "unshelved"}


class People(Protocol):
    """What an action needs of Slack."""

    async def whisper(self, channel: str, user: str, text: str) -> None: ...
    async def name_of(self, user: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Press:
    """One button that was pressed: under what the person saw, where, by whom."""

    deed: str
    alert: str
    severity: Severity
    episode: int
    user: str
    user_name: str
    channel: str


def presses(payload: Mapping[str, Any]) -> Iterator[Press]:
    """Our own buttons of a `block_actions` payload; what is not in that form is left out."""
    if payload.get("type") != "block_actions":
        return
    user, channel = _part(payload, "user"), _part(payload, "channel") or _part(payload, "container")
    actions = payload.get("actions")
    for action in actions if isinstance(actions, list) else ():
        if not isinstance(action, Mapping) or action.get("action_id") not in _DEEDS:
            continue
        try:
            seen = json.loads(str(action.get("value", "")))
            yield Press(
                str(action["action_id"]), str(seen["alert"])[:200], Severity(seen["severity"]),
                int(seen["episode"]), str(user["id"])[:50],
                plain(user.get("username") or user.get("name") or user["id"], 60),
                str(channel.get("id") or channel.get("channel_id") or "")[:50],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, RecursionError):
            continue


class Actions:
    """Does what was pressed, in its order; a refusal is told to whoever pressed, and nobody else.

    `users` gives the names by which Catcher knows people; others are asked of Slack.
    """

    def __init__(
        self,
        door: Callable[[], Door],
        active: Callable[[], Iterable[Alert]],
        people: People,
        users: Mapping[str, str],
    ) -> None:
        self._door, self._active, self._people = door, active, people
        self._users = users
        self._names: OrderedDict[str, str] = OrderedDict()
        self._waiting: asyncio.Queue[Press] = asyncio.Queue(_WAITING)
        self.counts = {"pressed": 0, "done": 0, "refused": 0, "dropped": 0, "untold": 0}

    def take(self, payload: Mapping[str, Any]) -> bool:
        """Takes what was pressed; returns at once. False where more waits than can be taken."""
        for press in presses(payload):
            self.counts["pressed"] += 1
            try:
                self._waiting.put_nowait(press)
            except asyncio.QueueFull:
                self.counts["dropped"] += 1
                return False
        return True

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            press = await self._waiting.get()
            try:
                await self._do(press)
            except (CatcherError, Busy) as refusal:
                self.counts["refused"] += 1
                await self._whisper(press, _refusal(press, refusal))
            else:
                self.counts["done"] += 1

    async def _do(self, press: Press) -> None:
        who, door = await self._who(press), self._door()
        known = next((one for one in self._active() if one.id == press.alert), None)
        if known is not None and known.episode != press.episode:
            raise CatcherError(
                f"{known.name} was over and has come back since that message",
                "look at its new message",
            )
        if press.deed == ACKNOWLEDGE:
            await door.acknowledge(press.alert, press.severity, who, "")
        elif press.deed == SHELVE:
            await door.shelve(press.alert, SHELF, who, _REASON)
        else:
            await door.unshelve(press.alert, who)

    async def _who(self, press: Press) -> str:
        """The person's name in Catcher, or in Slack; their account's where Slack does not say."""
        known = self._users.get(press.user) or self._names.get(press.user)
        if known:
            return known
        try:
            name: Awaitable[str] = self._people.name_of(press.user)
            found = await name or press.user_name
        except SinkError:
            return press.user_name
        self._names[press.user] = found
        if len(self._names) > _MOST_NAMES:
            self._names.popitem(last=False)
        return found

    async def _whisper(self, press: Press, text: str) -> None:
        try:
            await self._people.whisper(press.channel, press.user, text)
        except SinkError:
            self.counts["untold"] += 1


def _refusal(press: Press, error: CatcherError | Busy) -> str:
    words, hint = str(error), "press it again in a moment"
    if isinstance(error, CatcherError):
        words, hint = error.message, error.hint
    text = f"Not {_DEEDS[press.deed]}: {words}" + (f". {hint.capitalize()}." if hint else "")
    return entities(plain(text, 1_000))


def _part(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = payload.get(name)
    return found if isinstance(found, Mapping) else {}
