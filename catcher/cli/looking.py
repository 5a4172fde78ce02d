"""Looking things up: runs, alerts, metrics, artifacts, and why a rule did what it did."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from catcher.cli.options import (
    COLOURS,
    Data,
    Json,
    Limit,
    Row,
    Site,
    print_row,
    print_rows,
    print_table,
    wide_console,
)
from catcher.model.alert import Severity
from catcher.model.problem import CatcherError
from catcher.model.time import parse_duration, parse_instant, wall_clock

if TYPE_CHECKING:
    from catcher.client import Client

Rule = Annotated[str, typer.Option(help="Only of this rule.")]
Observation = Annotated[str, typer.Option("--obs", help="Only of this observation.")]
Since = Annotated[str, typer.Option(help="From a time on, or for so long back: 12h.")]


class Kind(StrEnum):
    """What can be asked for."""

    metrics = "metrics"
    artifacts = "artifacts"
    runs = "runs"
    alerts = "alerts"
    firings = "firings"
    audit = "audit"


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (runs, show, alerts, query, explain):
        app.command()(command)


def runs(
    site: Site = None, data: Data = None, rule: Rule = "", state: str = "",
    obs: Observation = "", since: Since = "", limit: Limit = 20, as_json: Json = False,
) -> None:  # fmt: skip
    """The latest runs.

    Example: `catcher runs --rule mount-jitter --since 12h`
    """
    query = Query(rule=rule, state=state, observation=obs, start=_start(since), limit=limit)
    rows = _ask(site, data, "runs", query)
    if as_json:
        return print_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "fired": lambda row: row["time"][:19],
            "rule": lambda row: row["rule"],
            "state": _run_state,
            "made": _made,
        },
    )


def show(run: str, site: Site = None, data: Data = None, as_json: Json = False) -> None:
    """Everything about one run: why it ran, what it read, what it made, how it failed.

    Example: `catcher show 1f3a9c0d2b47`
    """
    page = _with_client(site, data, lambda client: client.run(run))
    row = shown.run_page(page)
    if as_json:
        return print_row(row)
    console = Console()
    console.print(Text(f"{row['rule']} {row['key']} {row['id']}", style="bold"), _run_state(row))
    console.print(Text(f"fired    {row['time']}  {row['firing']['reason']}"))
    console.print(Text(f"job      {row['job']}  attempt {row['attempt']}  {row['observation']}"))
    console.print(Text(f"ran      {row['started']} to {row['finished']}"))
    for one in row["inputs"]:
        console.print(Text(f"input    {one['name']} = {one['address']}  {one['samples']} samples"))
    for name, metric in row["metrics"].items():
        value = (
            "unknown: " + metric.get("reason", "") if metric["value"] is None else metric["value"]
        )
        console.print(Text(f"metric   {name} = {value} {metric['unit']}"))
    for artifact in row["artifacts"]:
        console.print(Text(f"artifact {artifact['url'] or artifact['key']}"))
    for words in (row["note"], row["error"], row["traceback"]):
        if words:
            console.print(Text(words))


def alerts(
    site: Site = None, data: Data = None, rule: Rule = "",
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Limit = 50, as_json: Json = False,
) -> None:  # fmt: skip
    """The alerts as they stand.

    Example: `catcher alerts --all --json`
    """
    rows = _ask(
        site, data, "alerts", Query(rule=rule, state="" if every else "active", limit=limit)
    )
    if as_json:
        return print_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "severity": lambda row: Text(row["severity"], COLOURS[Severity[row["severity"]]]),
            "state": lambda row: row["state"],
            "since": lambda row: row["opened"][:19],
            "alert": lambda row: " ".join(filter(None, (row["rule"], row["key"], row["per"]))),
            "message": lambda row: row["message"] or row["reason"],
        },
    )


def query(
    kind: Kind,
    name: Annotated[str, typer.Argument(help="The name of a metric or artifact.")] = "",
    site: Site = None, data: Data = None, rule: Rule = "", obs: Observation = "",
    since: Since = "", until: Annotated[str, typer.Option(help="Up to a time.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    limit: Limit = 1000, as_json: Json = False,
) -> None:  # fmt: skip
    """Finds what was kept: metrics, artifacts, runs, alerts, firings, audit.

    Example: `catcher query metrics image_impact_rms --rule mount-jitter --json`
    """
    question = Query(
        rule=rule, name=name, observation=obs, limit=limit, start=_start(since),
        end=_start(until), labels=_labels(label or []),
    )  # fmt: skip
    rows = _ask(site, data, kind.value, question)
    if as_json:
        return print_rows(rows)
    names = [one for one in (rows[0] if rows else {}) if rows[0][one] not in ("", [], {}, None)]
    print_table(rows, {one: partial(_cell, one) for one in names[:9]})


def explain(
    rule: str, site: Site = None, data: Data = None,
    at: Annotated[str, typer.Option(help="The last decisions up to this time.")] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Why a rule fired or did not: its last decisions, and what is still missing.

    Example: `catcher explain wind-high`
    """
    rows = composition.remote(site, data).explain(rule, at)
    if as_json:
        return print_rows(rows)
    for row in rows:
        typer.echo(row["text"])


def _ask(site: Path | None, data: Path | None, kind: str, query: Query) -> list[Row]:
    rows: dict[str, Callable[[Any], Row]] = {
        "metrics": composition.point_row, "artifacts": shown.artifact_row, "runs": shown.run_row,
        "alerts": shown.alert_row, "firings": shown.firing_row, "audit": shown.audit_row,
    }  # fmt: skip
    found = _with_client(site, data, lambda client: getattr(client, kind)(query))
    return [rows[kind](one) for one in found]


def _with_client(site: Path | None, data: Path | None, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    async def open_and_ask() -> Any:
        async with composition.open_client(site, data) as client:
            return await ask(client)

    return asyncio.run(open_and_ask())


def _start(since: str) -> int | None:
    if not since:
        return None
    with contextlib.suppress(ValueError):
        return wall_clock() - parse_duration(since)
    try:
        return parse_instant(since)
    except ValueError as trouble:
        raise CatcherError(str(trouble), "or say how long ago, such as 12h") from trouble


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise typer.BadParameter(f"{pair!r} is no label; write name=value")
        labels[name] = value
    return labels


def _run_state(row: Row) -> Text:
    style = {"done": "green", "failed": "red", "timeout": "red"}.get(row["state"], "")
    return Text(row["state"], style=style)


def _made(row: Row) -> str:
    if row["error"]:
        return str(row["error"]).splitlines()[0]
    known = {name: value for name, value in row["metrics"].items() if value is not None}
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in list(known.items())[:5])
    return numbers + "  " + " ".join(one["name"] for one in row["artifacts"])


def _cell(name: str, row: Row) -> str:
    value = row[name]
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
