"""The exposure log and the narrative log, through their HTTP services: messages by people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.time import MICROSECOND, Instant, Span
from catcher.ports import Row
from catcher.stores.external.json_service import DEFAULT_TIMEOUT, JsonService, format_tai, parse_tai
from catcher.stores.external.tables import to_json_value
from catcher.transport.http import normalize_url

MESSAGES_TABLE = "messages"
PAGE_SIZE = 1000
_COMMON_COLUMNS: dict[str, tuple[FieldType, str]] = {
    "id": ("string", ""),
    "site_id": ("string", ""),
    "message_text": ("string", "what was noted"),
    "level": ("integer", "info 20, warning 30, error 40"),
    "user_id": ("string", ""),
    "user_agent": ("string", ""),
    "is_human": ("boolean", ""),
    "is_valid": ("boolean", "false once it was deleted or edited"),
    "date_added": ("string", "TAI"),
    "parent_id": ("string", "of the message that it is an edition of"),
}
_EXPOSURE_COLUMNS: dict[str, tuple[FieldType, str]] = {
    "obs_id": ("string", "the observation"),
    "instrument": ("string", ""),
    "day_obs": ("integer", "YYYYMMDD"),
    "seq_num": ("integer", ""),
    "exposure_flag": ("string", "none, junk or questionable"),
}
_NARRATIVE_COLUMNS: dict[str, tuple[FieldType, str]] = {
    "time_lost": ("float", ""),
    "time_lost_type": ("string", "fault or weather"),
    "date_begin": ("string", "TAI"),
    "date_end": ("string", "TAI"),
    "category": ("string", ""),
}
_UNITS = {"time_lost": "h"}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The service's address (`…/exposurelog`, `…/narrativelog`) and token."""

    url: str
    token: str = field(default="", repr=False)
    timeout: Span = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        normalize_url(self.url)


class RubinLogTable:
    """`tables.ExternalTableClient` of one table, `messages`, timed by when a message was added."""

    def __init__(self, settings: LogSettings, kind: Literal["exposurelog", "narrativelog"]) -> None:
        self.kind = kind
        name = "the exposure log" if kind == "exposurelog" else "the narrative log"
        self._service = JsonService(settings.url, settings.token, settings.timeout, name)
        self._columns = {
            **_COMMON_COLUMNS,
            **(_EXPOSURE_COLUMNS if kind == "exposurelog" else _NARRATIVE_COLUMNS),
        }

    @property
    def display_name(self) -> str:
        """The service's name and address."""
        return self._service.display_name

    def list_tables(self) -> list[str]:
        """Returns the one table; sends a request, so that an unavailable service is noticed."""
        self._service.get_json("/configuration")
        return [MESSAGES_TABLE]

    def list_columns(self, table: str) -> list[FieldInfo]:
        """Returns the columns of a message."""
        return [
            FieldInfo(name, kind, _UNITS.get(name, ""), description)
            for name, (kind, description) in self._columns.items()
        ]

    def read_rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, max_rows: int,
        newest_first: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Returns messages that were added in a time range, page by page."""
        parameters = {
            "min_date_added": format_tai(start),
            "max_date_added": format_tai(end + MICROSECOND),
            "order_by": "-date_added" if newest_first else "date_added",
        }
        samples: list[tuple[Instant, Row]] = []
        while len(samples) < max_rows:
            # The services require a limit of at least two.
            limit = max(2, min(PAGE_SIZE, max_rows - len(samples)))
            page = {**parameters, "limit": str(limit), "offset": str(len(samples))}
            messages = self._service.get_json("/messages", page)
            if not isinstance(messages, list):
                raise self._service.invalid_response_error()
            samples += [self._parse_message(message, fields) for message in messages]
            if len(messages) < limit:
                break
        return samples[:max_rows]

    def close(self) -> None:
        """Closes the connections."""
        self._service.close()

    def _parse_message(self, message: Any, fields: Sequence[str]) -> tuple[Instant, Row]:
        instant = parse_tai(message.get("date_added")) if isinstance(message, dict) else None
        if instant is None:
            raise self._service.invalid_response_error()
        columns = fields or list(message)
        return instant, {name: to_json_value(message.get(name)) for name in columns}
