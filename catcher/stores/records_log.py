"""The exposure log and the narrative log, by their HTTP services: what people noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.time import MICROSECOND, Instant, Span
from catcher.ports import Row
from catcher.stores.records import moderate
from catcher.stores.records_web import DEFAULT_TIMEOUT, JsonService, as_tai, from_tai
from catcher.stores.web import checked_url

MESSAGES = "messages"
PAGE = 1000
_BOTH: dict[str, tuple[FieldType, str]] = {
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
_EXPOSURE: dict[str, tuple[FieldType, str]] = {
    "obs_id": ("string", "the observation"),
    "instrument": ("string", ""),
    "day_obs": ("integer", "YYYYMMDD"),
    "seq_num": ("integer", ""),
    "exposure_flag": ("string", "none, junk or questionable"),
}
_NARRATIVE: dict[str, tuple[FieldType, str]] = {
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
        checked_url(self.url)


class Log:
    """`records.Tables` of one table, `messages`: a message's time is when it was added."""

    def __init__(self, settings: LogSettings, kind: Literal["exposurelog", "narrativelog"]) -> None:
        self.kind = kind
        name = "the exposure log" if kind == "exposurelog" else "the narrative log"
        self._service = JsonService(settings.url, settings.token, settings.timeout, name)
        self._known = {**_BOTH, **(_EXPOSURE if kind == "exposurelog" else _NARRATIVE)}

    @property
    def who(self) -> str:
        """What and where it is."""
        return self._service.who

    def names(self) -> list[str]:
        """The one table; asked for, so that a service that is away is told as such."""
        self._service.get("/configuration")
        return [MESSAGES]

    def fields(self, table: str) -> list[FieldInfo]:
        """What a message has."""
        return [
            FieldInfo(name, kind, _UNITS.get(name, ""), about)
            for name, (kind, about) in self._known.items()
        ]

    def rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, most: int,
        newest: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Messages that were added in a span, page by page."""
        asked = {
            "min_date_added": as_tai(start),
            "max_date_added": as_tai(end + MICROSECOND),
            "order_by": "-date_added" if newest else "date_added",
        }
        found: list[tuple[Instant, Row]] = []
        while len(found) < most:
            # The services want a limit of at least two.
            limit = max(2, min(PAGE, most - len(found)))
            page = {**asked, "limit": str(limit), "offset": str(len(found))}
            told = self._service.get("/messages", page)
            if not isinstance(told, list):
                raise self._service.nonsense()
            found += [self._row(one, fields) for one in told]
            if len(told) < limit:
                break
        return found[:most]

    def close(self) -> None:
        """Ends the connections."""
        self._service.close()

    def _row(self, told: Any, fields: Sequence[str]) -> tuple[Instant, Row]:
        instant = from_tai(told.get("date_added")) if isinstance(told, dict) else None
        if instant is None:
            raise self._service.nonsense()
        wanted = fields or list(told)
        return instant, {name: moderate(told.get(name)) for name in wanted}
