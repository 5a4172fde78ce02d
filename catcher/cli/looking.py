"""Looking things up: runs, alerts, metrics, artifacts, and why a rule did what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
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
from catcher.cli.spans import moment
from catcher.model.alert import Severity
from catcher.model.text import plain, visible
from catcher.model.time import SECOND, format_duration, to_seconds

if TYPE_CHECKING:
    from catcher.app import Client

Answer = TypeVar("Answer")

MOST_OPEN = 10_000
Rule = Annotated[str, typer.Option(help="Only of this rule.")]
Observation = Annotated[str, typer.Option("--obs", help="Only of this observation.")]
State = Annotated[str, typer.Option(help="Only in this state: done, failed, timeout, running.")]
Since = Annotated[str, typer.Option(help="From a time on, or for so long back: 12h.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (runs, show, alerts, explain):
        app.command(rich_help_panel="Looking things up")(command)


def runs(
    site: Site = None, data: Data = None, rule: Rule = "", state: State = "",
    obs: Observation = "", since: Since = "", limit: Limit = 20, as_json: Json = False,
) -> None:  # fmt: skip
    """The latest runs.

    Example: `catcher runs --rule mount-jitter --since 12h`
    """
    start = moment(since)

    async def ask(client: Client) -> list[Row]:
        found = await client.runs(rule=rule, state=state, obs=obs, start=start, limit=limit)
        return [*found.rows()]

    rows = with_client(site, data, ask)
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
    _tell_backlog(site, data, rule)


def _tell_backlog(site: Path | None, data: Path | None, rule: str) -> None:
    """What waits and what was dropped, beside the list: a line for each rule."""
    from catcher import app as composition

    for row in asyncio.run(composition.backlog(site, data)):
        if rule in ("", row["rule"]) and (words := backlog_words(row)):
            typer.secho(f"{row['rule']}: {words}", dim=True, err=True)


def backlog_words(row: Row) -> str:
    """`120 wait (20 of them in the ledger), 1 goes on; done in 2m at 60 a minute`."""
    said = []
    if row["waiting"]:
        spilled = f" ({row['spilled']} of them in the ledger)" if row["spilled"] else ""
        said.append(f"{row['waiting']} wait{spilled}, {row['running']} go on")
        if row["drain"] is not None:
            span = format_duration(round(row["drain"]) * SECOND)
            said.append(f"done in {span} at {row['per_minute']:.0f} a minute")
        if row["grows"]:
            said.append("more come in than are done")
    if row["dropped"]:
        said.append(f"{row['dropped']} dropped since the start (overlap: {row['overlap']})")
    return "; ".join(said)


def show(
    run: Annotated[str, typer.Argument(help="The run's id, as `catcher runs` shows it.")],
    site: Site = None, data: Data = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Everything about one run: why it ran, what it read, what it made, how it failed.

    Example: `catcher show 1f3a9c0d2b47`
    """
    from catcher.model.shown import run_page

    row = run_page(with_client(site, data, lambda client: client.run(run)))
    if as_json:
        return print_row(row)
    console = wide_console()
    name = " ".join(filter(None, (row["rule"], row["key"], row["part"], row["id"])))
    console.print(Text(plain(name), style="bold"), _run_state(row))
    for label, words in page(row):
        gap = "\n" if "\n" in words else ""
        console.print(Text(f"{label:<9}{gap}", style="dim"), Text(visible(words)), sep="")


def page(row: Row) -> Iterator[tuple[str, str]]:
    """The lines of a run's page, each with its label."""
    by_hand = " (by hand)" if row["manual"] else ""
    yield "fired", f"{_moment(row['time'])}{by_hand}  {row['firing']['reason']}"
    yield "job", f"{row['job']}  attempt {row['attempt']}  {row['observation']}"
    if row["started"]:
        yield "ran", f"{_moment(row['started'])} to {_moment(row['finished'] or 'now')}"
    if row["state"] == "running":
        yield "engine", f"{row['engine']}, last heard of {_moment(row['heartbeat'])}"
    elif row["engine"]:
        yield "engine", row["engine"]
    for one in row["inputs"]:
        late = f", waited {to_seconds(one['waited']):.3g} s" if one.get("waited") else ""
        late += " in vain: some may be missing" if one.get("whole") == "patience" else ""
        given = one["address"].startswith("with:")
        size = "" if given else f"  {one['samples']} samples{late}"
        yield "input", f"{one['name']} = {one['address']}{size}"
    for name, metric in row["metrics"].items():
        if metric["value"] is None:
            yield "metric", f"{name} is unknown: {metric.get('reason', '')}".rstrip(": ")
        else:
            yield "metric", f"{name} = {metric['value']:.6g} {metric['unit']}"
    for name, one in row["fields"].items():
        yield "field", f"{name}: {len(one['ids'])} values, one for each {one['over']}"
    for artifact in row["artifacts"]:
        yield "artifact", artifact["url"] or artifact["key"]
    for label in ("note", "error", "traceback"):
        if row[label]:
            yield label, row[label]


def _moment(text: str) -> str:
    """A time to the millisecond; nobody reads nanoseconds."""
    return f"{text[:23].rstrip('Z')}Z" if len(text) > 24 else text


def alerts(
    site: Site = None, data: Data = None, rule: Rule = "",
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Limit = 50, as_json: Json = False,
) -> None:  # fmt: skip
    """The alerts as they stand, the worst first; with --all the latest first.

    Example: `catcher alerts --all --json`
    """
    state = "" if every else "active"

    async def ask(client: Client) -> list[Row]:
        # What was told last is not what is worst: an old CRITICAL must not be cut off.
        most = limit if every else MOST_OPEN
        return [*(await client.alerts(rule=rule, state=state, limit=most)).rows()]

    found = with_client(site, data, ask)
    rows = found if every else sorted(found, key=_urgency)[:limit]
    if as_json:
        return print_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "severity": _alert_severity,
            "state": _alert_state,
            "since": lambda row: row["opened"][:19],
            "who": lambda row: row["assignee"] or row["acknowledged_by"] or row["shelved_by"],
            "alert": lambda row: plain(" ".join((row["rule"], row["key"], row["per"])), 120),
            "message": lambda row: row["message"] or row["reason"],
        },
    )
    if len(found) > len(rows):
        typer.secho(f"and {len(found) - len(rows)} more, none worse (--limit)", bold=True)


def explain(
    rule: Annotated[str, typer.Argument(help="The rule's id.")],
    site: Site = None, data: Data = None,
    at: Annotated[str, typer.Option(help="The last decisions up to this time.")] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Why a rule fired or did not: its last decisions, and what is still missing.

    Example: `catcher explain wind-high`
    """
    from catcher import app as composition

    rows = composition.remote(site, data).explain(rule, at)
    if as_json:
        return print_rows(rows)
    for row in rows:
        typer.echo(visible(row["text"]))


def with_client(
    site: Path | None, data: Path | None, ask: Callable[[Client], Awaitable[Answer]]
) -> Answer:
    """What a client of the site answers."""
    from catcher import app as composition

    async def open_and_ask() -> Answer:
        async with composition.open_client(site, data) as client:
            return await ask(client)

    return asyncio.run(open_and_ask())


def _urgency(row: Row) -> tuple[int, str]:
    """The worst first, of those the one that has waited longest."""
    return -Severity[row["shown_severity"]], row["opened"]


def _alert_severity(row: Row) -> Text:
    """As a display shows it: a latched alert at its worst, one that is over at what it was."""
    over = row["state"] == "resolved"
    severity = row["max_severity"] if over else row["shown_severity"]
    return Text(severity, "dim" if over else COLOURS[Severity[severity]])


def _alert_state(row: Row) -> str:
    """The state with what a person has to know beside it."""
    cleared = row["state"] != "resolved" and row["severity"] == "NONE"
    lower = row["latched"] and row["severity"] not in ("NONE", row["shown_severity"])
    ends = min(filter(None, (row["shelved_until"], row["confirm_by"])), default="")
    ends = f"until {ends[11:19]}Z" + (" unless confirmed" if row["confirm_by"] else "")
    beside = [
        ends if row["state"] == "shelved" else "",
        "cleared, awaiting acknowledgement" if cleared and row["latched"] else "",
        f"{row['severity']} now" if lower else "",
        "unknown" if row["unknown"] else "",
        f"flapping, {row['untold']} changes untold" if row["flapping"] else "",
        f"nobody hears: {row['held_back']}" if row["held_back"] else "",
    ]
    return ", ".join([row["state"], *filter(None, beside)])


def _run_state(row: Row) -> Text:
    style = {"done": "green", "failed": "red", "timeout": "red"}.get(row["state"], "")
    return Text(row["state"], style=style)


def _made(row: Row) -> str:
    if row["error"]:
        return str(row["error"]).splitlines()[0]
    known = {name: value for name, value in row["metrics"].items() if value is not None}
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in list(known.items())[:5])
    return numbers + "  " + " ".join(one["name"] for one in row["artifacts"])
