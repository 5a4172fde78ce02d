"""The client on the command line: metrics, artifacts, runs, alerts, telemetry, SQL."""

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

from catcher.cli.options import (
    DataOption,
    JsonOption,
    LimitOption,
    Row,
    SiteOption,
    print_json_rows,
    print_table,
)
from catcher.cli.time_arguments import normalize_time_option, parse_labels
from catcher.model.errors import CatcherError
from catcher.model.time import format_instant, instant_from_seconds

if TYPE_CHECKING:
    from catcher.app import Client
    from catcher.model.event import Series
    from catcher.model.table import Table

MAX_TABLE_COLUMNS = 9
"""Columns of a table on the terminal."""
DEFAULT_LIMIT = 1000
HIDDEN_COLUMNS = {"kind", "manual", "attempt", "created", "started", "heartbeat", "engine"}
"""Columns that the table of many rows leaves out; CSV and JSON have them."""


class QueryKind(StrEnum):
    """What can be queried."""

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
class QueryArguments:
    """The arguments of the command line."""

    kind: QueryKind
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
    kind: Annotated[QueryKind, typer.Argument(help="What to look for.")],
    name: Annotated[
        str, typer.Argument(help="A metric or artifact; a topic (series, fields); a SELECT (sql).")
    ] = "",
    site: SiteOption = None, data: DataOption = None,
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
    limit: LimitOption = DEFAULT_LIMIT, as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    parquet: Annotated[Path | None, typer.Option(help="Into a Parquet file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A quick plot: FILE.png.")] = None,
) -> None:  # fmt: skip
    """Finds what was kept, here or at an engine elsewhere.

    Example: `catcher query metrics image_impact_rms --since 12h --plot rms.png`,
    `catcher query series lsst.sal.ESS.airFlow --field speed --since 1h --csv`,
    `catcher query sql "SELECT name, avg(value) FROM metrics GROUP BY name"`
    """
    arguments = QueryArguments(
        kind, name, rule, obs, state, suffix, parse_labels(label or []), field or [], index, last,
        packed, timeout, normalize_time_option(since), normalize_time_option(until), limit,
    )  # fmt: skip
    result = asyncio.run(_run_query(arguments, _create_client(site, data, url, token)))
    was_written = _write_output_files(result, parquet, plot, f"{kind.value} {name}".strip())
    if as_csv:
        from catcher.authoring.exports import write_csv

        write_csv(result, sys.stdout)
    elif as_json:
        _print_json(result)
    elif not was_written:
        _print_result_table(result)
    if limit == DEFAULT_LIMIT or not (as_csv or as_json):
        _warn_if_truncated(result, limit)


def _create_client(
    site: Path | None, data: Path | None, url: str, token: str
) -> AbstractAsyncContextManager[Client]:
    from catcher import app as composition

    if url and (site or data):
        raise CatcherError("--url and a site together say two things", "give one of them")
    address = url if not url or "://" in url else f"http://{url}"
    return composition.open_client(address or site, data, token)


async def _run_query(
    arguments: QueryArguments, client_context: AbstractAsyncContextManager[Client]
) -> Any:
    async with client_context as client:
        if arguments.kind in (QueryKind.series, QueryKind.topics, QueryKind.fields):
            return await _query_telemetry(arguments, client)
        if arguments.kind is QueryKind.sql:
            if not arguments.name:
                raise CatcherError("no statement is given", 'write sql "SELECT …"')
            return await client.sql(
                arguments.name, limit=arguments.limit, timeout=arguments.timeout
            )
        return await _query_records(arguments, client)


async def _query_records(arguments: QueryArguments, client: Client) -> Table[Any]:
    filters: dict[str, Any] = {
        "start": arguments.since,
        "end": arguments.until,
        "limit": arguments.limit,
    }
    rule, obs, name = arguments.rule, arguments.obs, arguments.name
    match arguments.kind:
        case QueryKind.metrics:
            return await client.metrics(name, arguments.labels, rule=rule, obs=obs, **filters)
        case QueryKind.artifacts:
            return await client.artifacts(
                rule=rule, obs=obs, name=name, kind=arguments.suffix, **filters
            )
        case QueryKind.runs:
            labels = arguments.labels
            return await client.runs(
                rule=rule, obs=obs, job=name, state=arguments.state, labels=labels, **filters
            )
        case QueryKind.alerts:
            return await client.alerts(
                rule=rule,
                obs=obs,
                name=name,
                state=arguments.state,
                labels=arguments.labels,
                **filters,
            )
        case QueryKind.firings:
            return await client.firings(rule=rule, obs=obs, **filters)
        case _:
            return await client.audit(who=name, **filters)


async def _query_telemetry(arguments: QueryArguments, client: Client) -> Table[Any] | Series:
    from catcher.model.table import Table

    if arguments.kind is QueryKind.topics:
        topics = [{"topic": topic} for topic in await client.topics() if arguments.name in topic]
        return Table(topics, dict, names=("topic",))
    if not arguments.name:
        raise CatcherError("no topic is named", "`catcher query topics` lists them")
    if arguments.kind is QueryKind.fields:
        return await client.fields(arguments.name)
    if arguments.packed:
        start = arguments.since or "-1h"
        return await client.select_packed_time_series(
            arguments.name, arguments.fields, start, arguments.until, index=arguments.index
        )
    if arguments.last is not None:
        return await client.select_top_n(
            arguments.name, arguments.fields, arguments.last, arguments.until, index=arguments.index
        )
    series = await client.select_time_series(
        arguments.name,
        arguments.fields,
        arguments.since or "-1h",
        arguments.until,
        index=arguments.index,
    )
    if not len(series):
        await _report_last_sample(arguments, client)
    return series


async def _report_last_sample(arguments: QueryArguments, client: Client) -> None:
    """Reports the last sample, to distinguish an empty time range from an empty topic."""
    last = await client.select_top_n(arguments.name, arguments.fields, 1, index=arguments.index)
    if len(last):
        time = format_instant(instant_from_seconds(float(last.time[-1])))
        message = f"nothing in this span; the last sample is of {time}"
        typer.secho(f"{message}: see --since and --last", fg="yellow", err=True)


def _write_output_files(result: Any, parquet: Path | None, plot: Path | None, title: str) -> bool:
    from catcher.authoring.exports import draw_plot, write_parquet

    for file, write_file in ((parquet, write_parquet), (plot, partial(draw_plot, title=title))):
        if file is not None:
            write_file(result, file)
            typer.echo(f"written to {file}", err=True)
    return parquet is not None or plot is not None


def _print_json(result: Any) -> None:
    from catcher.authoring.exports import iter_rows

    print_json_rows(iter_rows(result))


def _print_result_table(result: Any) -> None:
    """Prints a table of the columns with values, as many as fit."""
    from catcher.authoring.exports import iter_rows

    max_rows = 100 if sys.stdout.isatty() else len(result)
    rows = list(islice(iter_rows(result), max_rows))
    empty_values: tuple[Any, ...] = ("", [], {}, None)
    names = dict.fromkeys(
        name
        for row in rows
        for name in row
        if row[name] not in empty_values and name not in HIDDEN_COLUMNS
    )
    print_table(
        rows, {column: partial(_format_cell, column) for column in list(names)[:MAX_TABLE_COLUMNS]}
    )
    omitted = [f"{len(result) - max_rows} rows"] * (len(result) > max_rows)
    omitted += [f"the columns {', '.join(list(names)[MAX_TABLE_COLUMNS:])}"] * (
        len(names) > MAX_TABLE_COLUMNS
    )
    if omitted:
        typer.secho(f"not shown: {' and '.join(omitted)}; --csv has all", dim=True, err=True)


def _warn_if_truncated(result: Any, limit: int) -> None:
    if getattr(result, "cut", False):
        typer.secho(f"there are more than {limit}: see --limit", fg="yellow", err=True)


def _format_cell(name: str, row: Row) -> str:
    value = row.get(name)
    if value is None:
        return "unknown" if name == "value" else ""
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
