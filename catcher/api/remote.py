"""The API from the other side: how commands speak to an engine that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from catcher.api import link

Row = dict[str, Any]


class Remote:
    """A running engine's API at `url`. Every refusal comes back as a CatcherError."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = link.headers(token, "cli")

    def fire(self, rule: str, body: Mapping[str, Any]) -> Row:
        """Fires a rule by hand."""
        return self._row("POST", f"/rules/{quote(rule, safe='')}/fire", body)

    def alert(self, identity: str, deed: str, body: Mapping[str, Any]) -> Row:
        """Does `ack`, `shelve`, `unshelve` or `note` to an alert."""
        return self._row("POST", f"/alerts/{quote(identity, safe='')}/{deed}", body)

    def desk(self, path: str, body: Mapping[str, Any]) -> Row:
        """Does something at the alert desk: a path such as `/silences`."""
        return self._row("POST", path, body)

    def look(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """What stands at a path of the alert desk."""
        return self._ask("GET", path, params=dict(parameters or {}))

    def post(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Posts events; returns how many were kept."""
        return int(self._row("POST", "/events", list(events))["accepted"])

    def rules(self) -> list[Row]:
        """Every rule, broken ones with their problems."""
        return self._rows("/rules")

    def explain(self, rule: str, at: str = "") -> list[Row]:
        """The last decisions of a rule."""
        return self._rows(f"/rules/{quote(rule, safe='')}/explain", {"at": at} if at else {})

    def health(self) -> list[Row]:
        """How everything outside is doing."""
        return self._rows("/health")

    def vitals(self) -> Row:
        """How the engine itself does, whether it counts as alive or not."""
        vitals: Row = self._ask("GET", "/healthz", whatever=True, params={"verbose": "1"})
        return vitals

    def unready(self) -> list[str]:
        """Why the engine is not ready; nothing when it is."""
        problems: list[str] = self._ask("GET", "/readyz", whatever=True)["problems"]
        return problems

    def backlog(self) -> list[Row]:
        """What goes on and waits, rule by rule."""
        return self._rows("/backlog")

    def _rows(self, path: str, parameters: Mapping[str, str] | None = None) -> list[Row]:
        rows: list[Row] = self._ask("GET", path, params=dict(parameters or {}))
        return rows

    def _row(self, method: str, path: str, body: Any) -> Row:
        row: Row = self._ask(method, path, json=body)
        return row

    def _ask(self, method: str, path: str, whatever: bool = False, **how: Any) -> Any:
        """What the engine answers; with `whatever` also when it says that it is not well."""
        return link.ask(method, self._url + path, self._headers, whatever, **how)
