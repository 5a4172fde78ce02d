"""Commands for alarm statistics, routing tests and the audit log."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from catcher.cli.options import (
    SEVERITY_STYLES,
    DataOption,
    JsonOption,
    Row,
    SiteOption,
    create_wide_console,
    print_json_row,
    print_json_rows,
    print_table,
)
from catcher.cli.time_arguments import normalize_time_option, parse_labels, parse_time_option
from catcher.model.alert import Severity
from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import wall_clock

if TYPE_CHECKING:
    from catcher.app import Client
    from catcher.authoring.reports import AlarmStatistics

SinceOption = Annotated[str, typer.Option(help="From a time on, or for so long back: 12h.")]
MAX_ENTRIES = 1_000_000


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    alarms = typer.Typer(no_args_is_help=True, help="What the alerts were like.")
    alarms.command()(report)
    app.add_typer(alarms, name="alarms", rich_help_panel="Looking things up")
    routes = typer.Typer(no_args_is_help=True, help="Which way alerts go.")
    routes.command()(test)
    app.add_typer(routes, name="routes", rich_help_panel="Before the night")
    app.command(rich_help_panel="Looking things up")(audit)


def report(
    site: SiteOption = None, data: DataOption = None, since: SinceOption = "24h",
    until: Annotated[str, typer.Option(help="Up to a time.")] = "",
    rule: Annotated[str, typer.Option(help="Only of this rule.")] = "",
    plot: Annotated[Path | None, typer.Option(help="Draws it: a .png, .svg or .pdf.")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """The figures of ISA-18.2: how many alerts, floods, chattering, the most frequent; by night
    and by rule.

    Example: `catcher alarms report --since 7d --plot week.png`
    """
    from catcher.authoring.reports import format_statistics_lines, statistics_to_json

    end = parse_time_option(until) or wall_clock()
    statistics = _compute_alarm_statistics(site, data, parse_time_option(since) or 0, end, rule)
    if plot is not None:
        from catcher.authoring.alarm_plot import draw_alarm_plot

        draw_alarm_plot(statistics, plot)
    row = statistics_to_json(statistics)
    if as_json:
        return print_json_row(row)
    console = create_wide_console()
    for line in format_statistics_lines(statistics):
        console.print(Text(line))
    for name in ("night", "rule"):
        if row[f"{name}s"]:
            typer.echo()
            _print_breakdown(name, row[f"{name}s"])
    if plot is not None:
        typer.echo(f"\ndrawn in {plot}")


def _compute_alarm_statistics(
    site: Path | None, data: Path | None, start: int, end: int, rule: str
) -> AlarmStatistics:
    from catcher import app as composition
    from catcher.authoring.reports import compute_alarm_statistics

    if start >= end:
        raise CatcherError("the span ends before it begins", "give an earlier --since")
    location = composition.load_site_settings(site).settings.location
    longitude = location.longitude if location else None

    async def fetch_report() -> AlarmStatistics:
        async with composition.open_client(site, data) as client:
            return await compute_alarm_statistics(client, start, end, rule, longitude)

    return asyncio.run(fetch_report())


def _print_breakdown(name: str, rows: list[Row]) -> None:
    print_table(
        rows,
        {
            name: lambda row: row[name],
            "alerts": lambda row: row["alerts"],
            "share": lambda row: f"{row['share']:.0%}",
            "worst": lambda row: Text(row["worst"], SEVERITY_STYLES[Severity[row["worst"]]]),
            "most in 10m": lambda row: row["most_in_10m"],
            "in flood": lambda row: _format_short_duration(row["in_flood_s"]),
            "chattering": lambda row: row["chattering"],
            "stale": lambda row: row["stale"],
            "taken after": lambda row: _format_short_duration(row["median_acknowledge_s"]),
            "open for": lambda row: _format_short_duration(row["median_open_s"]),
        },
    )


def _format_short_duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f}s" if seconds < 120 else f"{seconds / 60:.0f}m"


def test(
    rule: Annotated[str, typer.Option(help="The rule whose alert it is.")],
    site: SiteOption = None,
    severity: Annotated[str, typer.Option(help="How bad it is.")] = "warning",
    at: Annotated[str, typer.Option(help="When; now unless told.")] = "",
    key: Annotated[str, typer.Option(help="Its key.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="name=value, further labels.")] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="Its input is stale.")] = False,
    other: Annotated[
        list[str] | None, typer.Option("--while", help="A rule with an open alert then.")
    ] = None,
    on_shift: Annotated[str, typer.Option(help="Who is on shift then.")] = "",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Which way an alert would go and why, without telling anybody.

    Status 1 when nobody would hear of it. Example:
    `catcher routes test --rule wind-high --severity serious --at 2025-04-24T03:00Z`
    """
    from catcher import app as composition
    from catcher.authoring.reports import explain_alert_routing

    try:
        level = Severity.parse(severity)
    except ValueError as error:
        raise CatcherError(f"--severity: {error}") from error
    loaded_site = composition.load_site(site)
    for problem in loaded_site.config_errors:
        message = f"MISCONFIGURED, left out: {problem}"
        typer.secho(message, fg="red", bold=True, err=True)
    row = explain_alert_routing(
        loaded_site,
        rule,
        level,
        parse_time_option(at) or wall_clock(),
        key=key,
        labels=parse_labels(label or []),
        unknown=unknown,
        open_rules=other or [],
        on_shift=on_shift,
    )
    if as_json:
        print_json_row(row)
    else:
        for line in (*row["routes"], "", *row["ways"]):
            typer.echo(line)
        sinks = ", ".join(row["sinks"]) or f"nobody ({row['silenced'] or 'no sink'})"
        typer.echo(f"\n{row['severity']} {rule} at {row['at']} goes to {sinks}")
    raise typer.Exit(not row["sinks"])


def audit(
    site: SiteOption = None, data: DataOption = None, since: SinceOption = "",
    until: Annotated[str, typer.Option(help="Up to a time.")] = "",
    who: Annotated[str, typer.Option(help="Only what this person did.")] = "",
    what: Annotated[str, typer.Option(help="Only this: acknowledged, shelved, fire.")] = "",
    subject: Annotated[str, typer.Option(help="Only of this alert or rule.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, for a spreadsheet.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=MAX_ENTRIES)] = 100,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Who did what when, from which channel, newest first. Nothing in it is ever changed.

    Example: `catcher audit --since 30d --csv --limit 100000 > audit.csv`
    """
    from catcher.cli.inspect import run_with_client

    async def fetch_rows(client: Client) -> list[Row]:
        entries = await client.audit(
            subject=subject, who=who, what=what, limit=limit,
            start=normalize_time_option(since), end=normalize_time_option(until),
        )  # fmt: skip
        return [*entries.rows()]

    rows = run_with_client(site, data, fetch_rows)
    if as_json:
        return print_json_rows(rows)
    if as_csv:
        return _print_audit_csv(rows)
    print_table(
        rows,
        {
            "time": lambda row: row["time"][:19],
            "who": lambda row: sanitize_single_line(row["who"]),
            "channel": lambda row: row["channel"],
            "what": lambda row: row["what"],
            "of": lambda row: sanitize_single_line(
                row["detail"].get("name") or row["subject"], 120
            ),
            "why": lambda row: sanitize_single_line(
                row["detail"].get("refused") or row["detail"].get("reason", "")
            ),
        },
    )


def _print_audit_csv(rows: list[Row]) -> None:
    """Prints one line per entry; a cell that a spreadsheet would take for a formula stays text."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("time", "who", "channel", "what", "subject", "detail"))
    for row in rows:
        values = [row[name] for name in ("time", "who", "channel", "what", "subject")]
        detail = json.dumps(row["detail"], ensure_ascii=False, sort_keys=True)
        writer.writerow([*map(_escape_spreadsheet_formula, values), detail])


def _escape_spreadsheet_formula(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
