"""The client side of the API: how commands call a running engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from catcher.client import engine_http

Row = dict[str, Any]


class EngineClient:
    """The API of a running engine at `url`. Every refusal raises a CatcherError."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = engine_http.build_headers(token, "cli")

    def fire_rule(self, rule: str, body: Mapping[str, Any]) -> Row:
        """Fires a rule manually."""
        return self._request_row("POST", f"/rules/{quote(rule, safe='')}/fire", body)

    def send_alert_command(self, identity: str, command: str, body: Mapping[str, Any]) -> Row:
        """Sends `ack`, `shelve`, `unshelve` or `note` for an alert."""
        return self._request_row("POST", f"/alerts/{quote(identity, safe='')}/{command}", body)

    def post_json(self, path: str, body: Mapping[str, Any]) -> Row:
        """Posts a command to the alert pipeline; `path` is one such as `/silences`."""
        return self._request_row("POST", path, body)

    def get_json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Returns what the alert pipeline answers at a path."""
        return self._request_json("GET", path, params=dict(parameters or {}))

    def post_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Posts events; returns how many were accepted."""
        return int(self._request_row("POST", "/events", list(events))["accepted"])

    def list_rules(self) -> list[Row]:
        """Returns every rule, broken ones with their problems."""
        return self._get_rows("/rules")

    def explain_rule(self, rule: str, at: str = "") -> list[Row]:
        """Returns the last decisions of a rule."""
        return self._get_rows(f"/rules/{quote(rule, safe='')}/explain", {"at": at} if at else {})

    def list_health(self) -> list[Row]:
        """Returns the health of all external components."""
        return self._get_rows("/health")

    def get_runtime_status(self) -> Row:
        """Returns the status of the engine itself, whether it counts as alive or not."""
        status: Row = self._request_json(
            "GET", "/healthz", accept_unhealthy=True, params={"verbose": "1"}
        )
        return status

    def list_readiness_problems(self) -> list[str]:
        """Returns why the engine is not ready; empty if it is."""
        problems: list[str] = self._request_json("GET", "/readyz", accept_unhealthy=True)[
            "problems"
        ]
        return problems

    def count_waiting_runs(self) -> list[Row]:
        """Returns the running and waiting runs of each rule."""
        return self._get_rows("/backlog")

    def _get_rows(self, path: str, parameters: Mapping[str, str] | None = None) -> list[Row]:
        rows: list[Row] = self._request_json("GET", path, params=dict(parameters or {}))
        return rows

    def _request_row(self, method: str, path: str, body: Any) -> Row:
        row: Row = self._request_json(method, path, json=body)
        return row

    def _request_json(
        self, method: str, path: str, accept_unhealthy: bool = False, **options: Any
    ) -> Any:
        """Returns the engine's answer; with `accept_unhealthy` also that of an unhealthy one."""
        return engine_http.request_json(
            method, self._url + path, self._headers, accept_unhealthy, **options
        )
