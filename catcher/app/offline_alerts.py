"""The alert pipeline's state from the ledger, for reading while no engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.client import Client
from catcher.model import json_rows

MAX_ROWS = 10_000


async def build_offline_response(client: Client, path: str, parameters: Mapping[str, str]) -> Any:
    """Returns what the API would answer at a path of the alert routes."""
    match path:
        case "/dead-letters":
            limit = int(parameters.get("limit", MAX_ROWS))
            dead_letters = await client.dead_letters(sink=parameters.get("sink", ""), limit=limit)
            return [
                json_rows.dead_letter_to_row(
                    dead_letter.notice, dead_letter.error, dead_letter.time
                )
                for dead_letter in dead_letters
            ]
        case "/silences":
            silences = await client.silences(state="active", limit=MAX_ROWS)
            ordered = sorted(silences, key=lambda silence: (silence.ends_at, silence.id))
            return [json_rows.silence_to_row(silence) for silence in ordered]
        case _:
            shifts = await client.shifts(limit=1)
            return json_rows.shift_to_row(shifts[0] if shifts else None)
