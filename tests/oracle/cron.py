"""Five-field schedules by trying every minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from catcher.model.time import MINUTE, SECOND


def iter_schedule_times(schedule: str, zone: str, start: int, end: int) -> Iterator[int]:
    """The whole minutes in [start, end] at which a schedule (numbers, `*`, `*/n`) falls due."""
    minute, hour, day, month, weekday = schedule.split()
    for instant in range(-(-start // MINUTE) * MINUTE, end + 1, MINUTE):
        local = datetime.fromtimestamp(instant // SECOND, UTC).astimezone(ZoneInfo(zone))
        field_values = (
            (minute, local.minute),
            (hour, local.hour),
            (day, local.day),
            (month, local.month),
            (weekday, local.isoweekday() % 7),
        )
        if all(_matches_field(*field_value) for field_value in field_values):
            yield instant


def _matches_field(field: str, value: int) -> bool:
    if field == "*":
        return True
    if field.startswith("*/"):
        return value % int(field[2:]) == 0
    return value in [int(part) for part in field.split(",")]
