"""Commands for queries: runs, alerts, and why a rule fired or did not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.text import Text

from catcher.cli.options import (
    SEVERITY_STYLES,
    DataOption,
    JsonOption,
    LimitOption,
    Row,
    SiteOption,
    create_wide_console,
    print_json_row,
    print_json_rows,
    print_table,
)
from catcher.cli.time_arguments import normalize_time_option
from catcher.model.alert import Severity
from catcher.model.text import sanitize_single_line, strip_control_characters
from catcher.model.time import SECOND, format_duration, nanoseconds_to_seconds

if TYPE_CHECKING:
    from catcher.app import Client

ResultT = TypeVar("ResultT")

MAX_OPEN_ALERTS = 10_000
RuleOption = Annotated[str, typer.Option(help="Only of this rule.")]
ObservationOption = Annotated[str, typer.Option("--obs", help="Only of this observation.")]
StateOption = Annotated[
    str, typer.Option(help="Only in this state: done, failed, timeout, running.")
]
SinceOption = Annotated[str, typer.Option(help="From a time on, or for so long back: 12h.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (runs, show, alerts, explain):
        app.command(rich_help_panel="Looking things up")(command)


def runs(
    site: SiteOption = None,
    data: DataOption = None,
    rule: RuleOption = "",
    state: StateOption = "",
    obs: ObservationOption = "",
    since: SinceOption = "",
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """The latest runs.

    Example: `catcher runs --rule mount-jitter --since 12h`
    """
    start = normalize_time_option(since)

    async def fetch_rows(client: Client) -> list[Row]:
        table = await client.runs(rule=rule, state=state, obs=obs, start=start, limit=limit)
        return [*table.rows()]

    rows = run_with_client(site, data, fetch_rows)
    if as_json:
        return print_json_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "fired": lambda row: row["time"][:19],
            "rule": lambda row: row["rule"],
            "state": _format_run_state,
            "made": _format_run_result,
        },
    )
    _print_backlog(site, data, rule)


def _print_backlog(site: Path | None, data: Path | None, rule: str) -> None:
    """Prints what waits and what was dropped beside the list: a line for each rule."""
    from catcher import app as composition

    for row in asyncio.run(composition.count_waiting_runs(site, data)):
        if rule in ("", row["rule"]) and (backlog_text := format_backlog(row)):
            typer.secho(f"{row['rule']}: {backlog_text}", dim=True, err=True)


def format_backlog(row: Row) -> str:
    """Returns `120 wait (20 of them in the ledger), 1 goes on; done in 2m at 60 a minute`."""
    parts = []
    if row["waiting"]:
        spilled_text = f" ({row['spilled']} of them in the ledger)" if row["spilled"] else ""
        parts.append(f"{row['waiting']} wait{spilled_text}, {row['running']} go on")
        if row["drain"] is not None:
            span = format_duration(round(row["drain"]) * SECOND)
            parts.append(f"done in {span} at {row['per_minute']:.0f} a minute")
        if row["grows"]:
            parts.append("more come in than are done")
    if row["dropped"]:
        parts.append(f"{row['dropped']} dropped since the start (overlap: {row['overlap']})")
    return "; ".join(parts)


def show(
    run: Annotated[str, typer.Argument(help="The run's id, as `catcher runs` shows it.")],
    site: SiteOption = None, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Everything about one run: why it ran, what it read, what it made, how it failed.

    Example: `catcher show 1f3a9c0d2b47`
    """
    from catcher.model.json_rows import run_to_detailed_row

    row = run_to_detailed_row(run_with_client(site, data, lambda client: client.run(run)))
    if as_json:
        return print_json_row(row)
    console = create_wide_console()
    name = " ".join(filter(None, (row["rule"], row["key"], row["part"], row["id"])))
    console.print(Text(sanitize_single_line(name), style="bold"), _format_run_state(row))
    for label, text in iter_run_details(row):
        separator = "\n" if "\n" in text else ""
        console.print(
            Text(f"{label:<9}{separator}", style="dim"),
            Text(strip_control_characters(text)),
            sep="",
        )


def iter_run_details(row: Row) -> Iterator[tuple[str, str]]:
    """Yields the lines of a run's page, each with its label."""
    manual_suffix = " (by hand)" if row["manual"] else ""
    yield (
        "fired",
        f"{_truncate_to_milliseconds(row['time'])}{manual_suffix}  {row['firing']['reason']}",
    )
    yield "job", f"{row['job']}  attempt {row['attempt']}  {row['observation']}"
    if row["started"]:
        yield (
            "ran",
            f"{_truncate_to_milliseconds(row['started'])} to "
            f"{_truncate_to_milliseconds(row['finished'] or 'now')}",
        )
    if row["state"] == "running":
        yield (
            "engine",
            f"{row['engine']}, last heard of {_truncate_to_milliseconds(row['heartbeat'])}",
        )
    elif row["engine"]:
        yield "engine", row["engine"]
    for record in row["inputs"]:
        late_text = (
            f", waited {nanoseconds_to_seconds(record['waited']):.3g} s"
            if record.get("waited")
            else ""
        )
        late_text += " in vain: some may be missing" if record.get("whole") == "patience" else ""
        is_argument = record["address"].startswith("with:")
        size_text = "" if is_argument else f"  {record['samples']} samples{late_text}"
        yield "input", f"{record['name']} = {record['address']}{size_text}"
    for name, metric in row["metrics"].items():
        if metric["value"] is None:
            yield "metric", f"{name} is unknown: {metric.get('reason', '')}".rstrip(": ")
        else:
            yield "metric", f"{name} = {metric['value']:.6g} {metric['unit']}"
    for name, record in row["fields"].items():
        yield "field", f"{name}: {len(record['ids'])} values, one for each {record['over']}"
    for artifact in row["artifacts"]:
        yield "artifact", artifact["url"] or artifact["key"]
    for label in ("note", "error", "traceback"):
        if row[label]:
            yield label, row[label]


def _truncate_to_milliseconds(text: str) -> str:
    """Formats a time to the millisecond; nobody reads nanoseconds."""
    return f"{text[:23].rstrip('Z')}Z" if len(text) > 24 else text


def alerts(
    site: SiteOption = None, data: DataOption = None, rule: RuleOption = "",
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: LimitOption = 50, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """The alerts as they stand, the worst first; with --all the latest first.

    Example: `catcher alerts --all --json`
    """
    state = "" if every else "active"

    async def fetch_rows(client: Client) -> list[Row]:
        # The latest change is not the worst: an old CRITICAL must not be cut off.
        max_rows = limit if every else MAX_OPEN_ALERTS
        return [*(await client.alerts(rule=rule, state=state, limit=max_rows)).rows()]

    all_rows = run_with_client(site, data, fetch_rows)
    rows = all_rows if every else sorted(all_rows, key=_alert_sort_key)[:limit]
    if as_json:
        return print_json_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "severity": _format_severity,
            "state": _format_alert_state,
            "since": lambda row: row["opened"][:19],
            "who": lambda row: row["assignee"] or row["acknowledged_by"] or row["shelved_by"],
            "alert": lambda row: sanitize_single_line(
                " ".join((row["rule"], row["key"], row["per"])), 120
            ),
            "message": lambda row: row["message"] or row["reason"],
        },
    )
    if len(all_rows) > len(rows):
        typer.secho(f"and {len(all_rows) - len(rows)} more, none worse (--limit)", bold=True)


def explain(
    rule: Annotated[str, typer.Argument(help="The rule's id.")],
    site: SiteOption = None, data: DataOption = None,
    at: Annotated[str, typer.Option(help="The last decisions up to this time.")] = "",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Why a rule fired or did not: its last decisions, and what is still missing.

    Example: `catcher explain wind-high`
    """
    from catcher import app as composition

    rows = composition.get_engine_client(site, data).explain_rule(rule, at)
    if as_json:
        return print_json_rows(rows)
    for row in rows:
        typer.echo(strip_control_characters(row["text"]))


def run_with_client(
    site: Path | None, data: Path | None, query: Callable[[Client], Awaitable[ResultT]]
) -> ResultT:
    """Returns what a query returns with a client of the site."""
    from catcher import app as composition

    async def open_and_query() -> ResultT:
        async with composition.open_client(site, data) as client:
            return await query(client)

    return asyncio.run(open_and_query())


def _alert_sort_key(row: Row) -> tuple[int, str]:
    """Sorts the worst first, and among those the one that has waited longest."""
    return -Severity[row["shown_severity"]], row["opened"]


def _format_severity(row: Row) -> Text:
    """Formats the displayed severity: the worst of a latched or resolved alert."""
    is_resolved = row["state"] == "resolved"
    severity = row["max_severity"] if is_resolved else row["shown_severity"]
    return Text(severity, "dim" if is_resolved else SEVERITY_STYLES[Severity[severity]])


def _format_alert_state(row: Row) -> str:
    """Formats the state with what a person has to know beside it."""
    is_cleared = row["state"] != "resolved" and row["severity"] == "NONE"
    is_lower = row["latched"] and row["severity"] not in ("NONE", row["shown_severity"])
    end_text = min(filter(None, (row["shelved_until"], row["confirm_by"])), default="")
    end_text = f"until {end_text[11:19]}Z" + (" unless confirmed" if row["confirm_by"] else "")
    remarks = [
        end_text if row["state"] == "shelved" else "",
        "cleared, awaiting acknowledgement" if is_cleared and row["latched"] else "",
        f"{row['severity']} now" if is_lower else "",
        "unknown" if row["unknown"] else "",
        f"flapping, {row['untold']} changes untold" if row["flapping"] else "",
        f"nobody hears: {row['held_back']}" if row["held_back"] else "",
    ]
    return ", ".join([row["state"], *filter(None, remarks)])


def _format_run_state(row: Row) -> Text:
    style = {"done": "green", "failed": "red", "timeout": "red"}.get(row["state"], "")
    return Text(row["state"], style=style)


def _format_run_result(row: Row) -> str:
    if row["error"]:
        return str(row["error"]).splitlines()[0]
    known_values = {name: value for name, value in row["metrics"].items() if value is not None}
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in list(known_values.items())[:5])
    return numbers + "  " + " ".join(artifact["name"] for artifact in row["artifacts"])
