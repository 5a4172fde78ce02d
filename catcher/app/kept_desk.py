"""The alert desk as the ledger has it, for those who look while no engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.client import Client
from catcher.model import shown_desk

ALL = 10_000


async def read(client: Client, path: str, asked: Mapping[str, str]) -> Any:
    """What the API would answer at a path of the desk."""
    match path:
        case "/dead-letters":
            limit = int(asked.get("limit", ALL))
            letters = await client.dead_letters(sink=asked.get("sink", ""), limit=limit)
            return [shown_desk.letter_row(one.notice, one.error, one.time) for one in letters]
        case "/silences":
            found = await client.silences(state="active", limit=ALL)
            ordered = sorted(found, key=lambda one: (one.ends, one.id))
            return [shown_desk.silence_row(one) for one in ordered]
        case _:
            shifts = await client.shifts(limit=1)
            return shown_desk.shift_row(shifts[0] if shifts else None)
