"""Commands before anything runs: check the site, run its rules' tests, backtest a rule."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from catcher.cli.options import (
    SEVERITY_STYLES,
    DataOption,
    JsonOption,
    Row,
    SiteOption,
    print_json_row,
    print_json_rows,
)
from catcher.model.alert import Severity
from catcher.model.errors import CatcherError, Problem

if TYPE_CHECKING:
    from catcher.authoring import RuleTestResult

MAX_REPORTED_LINES = 20
"""Rejected lines of a recording that are printed one by one; the others are counted."""


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (check, test, backtest, schema):
        app.command(rich_help_panel="Before the night")(command)


class SchemaKind(StrEnum):
    """What a schema is of."""

    rule = "rule"
    site = "site"
    routes = "routes"
    views = "views"


def check(site: SiteOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Finds everything that is wrong in a site, in one pass, with the place and the mend.

    Fields that a stream's own schema does not have are told, too, once an engine has seen it.
    Status 1 when there is an error. Example: `catcher check --site my-site`
    """
    from catcher import app as composition
    from catcher.authoring.field_checks import check_fields

    loaded_site = composition.load_site(site)
    topic_fields = composition.load_topic_fields(loaded_site, data)
    problems = (*loaded_site.problems, *check_fields(loaded_site.rules.values(), topic_fields))
    if as_json:
        print_json_rows(problem.to_json() for problem in problems)
    else:
        _print_problems(problems)
        broken_text = (
            f", {len(loaded_site.broken_rules)} broken" if loaded_site.broken_rules else ""
        )
        rules_text = "1 rule" if len(loaded_site.rules) == 1 else f"{len(loaded_site.rules)} rules"
        typer.echo(f"{loaded_site.root}: {rules_text}{broken_text}")
    raise typer.Exit(any(problem.severity == "error" for problem in problems))


def _print_problems(problems: tuple[Problem, ...]) -> None:
    console = Console(stderr=False, soft_wrap=True)
    for problem in problems:
        style = "red" if problem.severity == "error" else "yellow"
        console.print(Text(str(problem), style=style))


def test(
    rules: Annotated[list[str] | None, typer.Argument(help="Only of these rules.")] = None,
    site: SiteOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Runs the tests that stand beside the rules, on the production engine and a fast clock.

    Status 1 when one fails. Example: `catcher test wind-high`
    """
    from catcher import app as composition

    loaded_site = composition.load_site(site)
    results = asyncio.run(composition.run_rule_tests(loaded_site, rules or []))
    if as_json:
        print_json_rows(result.to_json() for result in results)
    else:
        for result in results:
            _print_test_result(result)
        passed = sum(result.has_passed for result in results)
        untested = " (no rule has tests: write some below it, as `tests:`)" if not results else ""
        typer.echo(f"{passed} passed, {len(results) - passed} failed{untested}")
    raise typer.Exit(not all(result.has_passed for result in results))


def _print_test_result(result: RuleTestResult) -> None:
    label = Text("passed", "green") if result.has_passed else Text("FAILED", "red")
    Console(soft_wrap=True).print(label, Text(f"{result.rule}: {result.name}"))
    for line in result.differences:
        typer.echo(f"    {line}")


def backtest(
    rules: Annotated[list[str] | None, typer.Argument(help="The rules; else all.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded streams: JSON Lines, plain or gzip, or Parquet."),
    ] = None,
    site: SiteOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Plays recorded streams through rules, jobs included, and tells what they would have done.

    It has a ledger of its own and tells nobody. Example:
    `catcher backtest wind-high --data night.jsonl.gz --json`
    """
    from catcher import app as composition
    from catcher.authoring import BacktestSummary

    if not data:
        raise CatcherError("nothing to play", "name a recorded stream with --data FILE")
    loaded_site = composition.load_site(site)
    summary = BacktestSummary()

    def print_backtest_row(row: Row) -> None:
        summary.count_row(row)
        if as_json:
            print_json_row(row)
        else:
            Console(soft_wrap=True).print(format_backtest_row(row))

    def report_rejected(message: str) -> None:
        summary.rejected_count += 1
        if summary.rejected_count <= MAX_REPORTED_LINES:
            typer.echo(message, err=True)

    with show_progress() as progress:
        asyncio.run(
            composition.run_backtest(
                loaded_site, rules or [], data, print_backtest_row, progress, report_rejected
            )
        )
    if not as_json:
        typer.echo(summary.format_summary())
    elif summary.rejected_count:
        typer.echo(summary.format_rejected_count(), err=True)


@contextmanager
def show_progress() -> Iterator[Callable[[str], None]]:
    """Shows the progress on a line of stderr; nothing if that is no terminal."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield lambda message: None
        return
    # On the same terminal rows go above the line; rows for a pipe must not be caught by it.
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip
    with progress:
        task = progress.add_task("reading")
        yield lambda message: progress.update(task, description=message)


def schema(
    file: Annotated[
        SchemaKind, typer.Argument(help="A rule, catcher.yaml, routes.yaml, or the views of SQL.")
    ] = SchemaKind.rule,
    site: SiteOption = None, data: DataOption = None,
) -> None:  # fmt: skip
    """Prints the JSON Schema of a file, for completion and hover in an editor.

    That of a rule knows the topics whose schema an engine of the site has seen.
    `views` prints the tables that `catcher query sql` may ask, as Markdown.

    In VS Code with the YAML extension: `catcher schema rule > .vscode/rule.json`, then
    `"yaml.schemas": {".vscode/rule.json": "rules/*.yaml"}` in the settings.
    Example: `catcher schema site > catcher.schema.json`
    """
    from catcher.app import SETTINGS_CLASSES, format_sql_views, load_site, load_topic_fields
    from catcher.authoring.schema import build_schema as create_schema

    match file:
        case SchemaKind.views:
            typer.echo(format_sql_views())
            return
        case SchemaKind.rule:
            schema_document = create_schema(
                "rule", SETTINGS_CLASSES, load_topic_fields(load_site(site), data)
            )
        case SchemaKind.site:
            schema_document = create_schema("site", SETTINGS_CLASSES)
        case SchemaKind.routes:
            schema_document = create_schema("routes", SETTINGS_CLASSES)
    typer.echo(json.dumps(schema_document, ensure_ascii=False, indent=2))


def format_backtest_row(row: Row) -> Text:
    """Formats one object of `backtest --json` as a line for people."""
    prefix = f"{row['time']:<28} {row['kind']:<7} {row['rule']} {row['key']} "
    if row["kind"] == "firing":
        return Text(prefix + row["reason"])
    if row["kind"] == "run":
        known_metrics = {name: value for name, value in row["metrics"].items() if value is not None}
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in known_metrics.items())
        return Text(prefix + f"{row['state']} {row['error'] or numbers}")
    severity = Severity[row["severity"]]
    return Text(
        prefix + f"{row['severity']} {row['state']} {row['reason']}", SEVERITY_STYLES[severity]
    )
