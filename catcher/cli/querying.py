"""The one door on the command line: metrics, artifacts, runs, alerts, telemetry, SQL."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catcher.cli.options import Data, Json, Limit, Row, Site, print_rows, print_table
from catcher.cli.spans import labelled, moment
from catcher.model.problem import CatcherError
from catcher.model.time import format_instant, from_seconds

if TYPE_CHECKING:
    from catcher.app import Client
    from catcher.model.event import Series
    from catcher.model.table import Table

SHOWN = 9
"""Columns of a table on the terminal."""
MOST = 1000
HIDDEN = {"kind", "manual", "attempt", "created", "started", "heartbeat", "engine"}
"""Columns that the table of many rows leaves out; CSV and JSON have them."""


class Kind(StrEnum):
    """What can be asked for."""

    metrics = "metrics"
    artifacts = "artifacts"
    runs = "runs"
    alerts = "alerts"
    series = "series"
    sql = "sql"
    topics = "topics"
    fields = "fields"
    firings = "firings"
    audit = "audit"


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked on the command line."""

    kind: Kind
    name: str
    rule: str
    obs: str
    state: str
    suffix: str
    labels: dict[str, str]
    fields: list[str]
    index: int | None
    last: int | None
    packed: bool
    timeout: str
    since: str | None
    until: str | None
    limit: int


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command(rich_help_panel="Looking things up")(query)


def query(
    kind: Annotated[Kind, typer.Argument(help="What to look for.")],
    name: Annotated[
        str, typer.Argument(help="A metric or artifact; a topic (series, fields); a SELECT (sql).")
    ] = "",
    site: Site = None, data: Data = None,
    url: Annotated[str, typer.Option(help="Ask an engine elsewhere: http://host:8787.")] = "",
    token: Annotated[str, typer.Option(help="Its token.", envvar="CATCHER_TOKEN")] = "",
    rule: Annotated[str, typer.Option(help="Only of this rule.")] = "",
    obs: Annotated[str, typer.Option("--obs", help="Only of this observation.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state.")] = "",
    suffix: Annotated[str, typer.Option("--kind", help="Artifacts of a kind: png.")] = "",
    since: Annotated[str, typer.Option(help="From a time on, or for so long back: 12h.")] = "",
    until: Annotated[str, typer.Option(help="Up to a time.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="Of a topic; may be repeated; else all numbers.")
    ] = None,
    index: Annotated[int | None, typer.Option(help="The salIndex, of telemetry.")] = None,
    last: Annotated[int | None, typer.Option(help="Only the last samples of a topic.")] = None,
    packed: Annotated[bool, typer.Option("--packed", help="The fields are packed arrays.")] = False,
    timeout: Annotated[str, typer.Option(help="How long a SELECT may take.")] = "10s",
    limit: Limit = MOST, as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    parquet: Annotated[Path | None, typer.Option(help="Into a Parquet file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A quick plot: FILE.png.")] = None,
) -> None:  # fmt: skip
    """Finds what was kept, here or at an engine elsewhere.

    Example: `catcher query metrics image_impact_rms --since 12h --plot rms.png`,
    `catcher query series lsst.sal.ESS.airFlow --field speed --since 1h --csv`,
    `catcher query sql "SELECT name, avg(value) FROM metrics GROUP BY name"`
    """
    asked = Question(
        kind, name, rule, obs, state, suffix, labelled(label or []), field or [], index, last,
        packed, timeout, moment(since), moment(until), limit,
    )  # fmt: skip
    found = asyncio.run(_answer(asked, _door(site, data, url, token)))
    written = _write(found, parquet, plot, f"{kind.value} {name}".strip())
    if as_csv:
        from catcher.authoring.exports import write_csv

        write_csv(found, sys.stdout)
    elif as_json:
        _print_json(found)
    elif not written:
        _print(found)
    if limit == MOST or not (as_csv or as_json):
        _tell_cut(found, limit)


def _door(
    site: Path | None, data: Path | None, url: str, token: str
) -> AbstractAsyncContextManager[Client]:
    from catcher import app as composition

    if url and (site or data):
        raise CatcherError("--url and a site together say two things", "give one of them")
    address = url if not url or "://" in url else f"http://{url}"
    return composition.open_client(address or site, data, token)


async def _answer(asked: Question, door: AbstractAsyncContextManager[Client]) -> Any:
    async with door as client:
        if asked.kind in (Kind.series, Kind.topics, Kind.fields):
            return await _telemetry(asked, client)
        if asked.kind is Kind.sql:
            if not asked.name:
                raise CatcherError("no statement is given", 'write sql "SELECT …"')
            return await client.sql(asked.name, limit=asked.limit, timeout=asked.timeout)
        return await _kept(asked, client)


async def _kept(asked: Question, client: Client) -> Table[Any]:
    span: dict[str, Any] = {"start": asked.since, "end": asked.until, "limit": asked.limit}
    rule, obs, name = asked.rule, asked.obs, asked.name
    match asked.kind:
        case Kind.metrics:
            return await client.metrics(name, asked.labels, rule=rule, obs=obs, **span)
        case Kind.artifacts:
            return await client.artifacts(rule=rule, obs=obs, name=name, kind=asked.suffix, **span)
        case Kind.runs:
            labels = asked.labels
            return await client.runs(
                rule=rule, obs=obs, job=name, state=asked.state, labels=labels, **span
            )
        case Kind.alerts:
            return await client.alerts(
                rule=rule, obs=obs, name=name, state=asked.state, labels=asked.labels, **span
            )
        case Kind.firings:
            return await client.firings(rule=rule, obs=obs, **span)
        case _:
            return await client.audit(who=name, **span)


async def _telemetry(asked: Question, client: Client) -> Table[Any] | Series:
    from catcher.model.table import Table

    if asked.kind is Kind.topics:
        topics = [{"topic": one} for one in await client.topics() if asked.name in one]
        return Table(topics, dict, names=("topic",))
    if not asked.name:
        raise CatcherError("no topic is named", "`catcher query topics` lists them")
    if asked.kind is Kind.fields:
        return await client.fields(asked.name)
    if asked.packed:
        start = asked.since or "-1h"
        return await client.select_packed_time_series(
            asked.name, asked.fields, start, asked.until, index=asked.index
        )
    if asked.last is not None:
        return await client.select_top_n(
            asked.name, asked.fields, asked.last, asked.until, index=asked.index
        )
    series = await client.select_time_series(
        asked.name, asked.fields, asked.since or "-1h", asked.until, index=asked.index
    )
    if not len(series):
        await _tell_last(asked, client)
    return series


async def _tell_last(asked: Question, client: Client) -> None:
    """Nothing in a span is told apart from nothing at all."""
    last = await client.select_top_n(asked.name, asked.fields, 1, index=asked.index)
    if len(last):
        time = format_instant(from_seconds(float(last.time[-1])))
        words = f"nothing in this span; the last sample is of {time}"
        typer.secho(f"{words}: see --since and --last", fg="yellow", err=True)


def _write(found: Any, parquet: Path | None, plot: Path | None, title: str) -> bool:
    from catcher.authoring.exports import draw, write_parquet

    for file, write in ((parquet, write_parquet), (plot, partial(draw, title=title))):
        if file is not None:
            write(found, file)
            typer.echo(f"written to {file}", err=True)
    return parquet is not None or plot is not None


def _print_json(found: Any) -> None:
    from catcher.authoring.exports import rows_of

    print_rows(rows_of(found))


def _print(found: Any) -> None:
    """A table of the columns that say something, as many as fit."""
    from catcher.authoring.exports import rows_of

    most = 100 if sys.stdout.isatty() else len(found)
    rows = list(islice(rows_of(found), most))
    empty: tuple[Any, ...] = ("", [], {}, None)
    names = dict.fromkeys(
        name for row in rows for name in row if row[name] not in empty and name not in HIDDEN
    )
    print_table(rows, {one: partial(_cell, one) for one in list(names)[:SHOWN]})
    left = [f"{len(found) - most} rows"] * (len(found) > most)
    left += [f"the columns {', '.join(list(names)[SHOWN:])}"] * (len(names) > SHOWN)
    if left:
        typer.secho(f"not shown: {' and '.join(left)}; --csv has all", dim=True, err=True)


def _tell_cut(found: Any, limit: int) -> None:
    if getattr(found, "cut", False):
        typer.secho(f"there are more than {limit}: see --limit", fg="yellow", err=True)


def _cell(name: str, row: Row) -> str:
    value = row.get(name)
    if value is None:
        return "unknown" if name == "value" else ""
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
