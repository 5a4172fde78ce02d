"""Before anything runs: check the site, run its rules' tests, play the past through a rule."""

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

from catcher.cli.options import COLOURS, Data, Json, Row, Site, print_row, print_rows
from catcher.model.alert import Severity
from catcher.model.problem import CatcherError, Problem

if TYPE_CHECKING:
    from catcher.authoring import Case

MOST_TOLD = 20
"""Lines of a recording that are told one by one; of the others there is a count."""


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (check, test, backtest, schema):
        app.command(rich_help_panel="Before the night")(command)


class File(StrEnum):
    """What a schema is of."""

    rule = "rule"
    site = "site"
    routes = "routes"
    views = "views"


def check(site: Site = None, data: Data = None, as_json: Json = False) -> None:
    """Finds everything that is wrong in a site, in one pass, with the place and the mend.

    Fields that a stream's own schema does not have are told, too, once an engine has seen it.
    Status 1 when there is an error. Example: `catcher check --site my-site`
    """
    from catcher import app as composition
    from catcher.authoring.field_checks import check_fields

    loaded = composition.load_site(site)
    fields = composition.described_fields(loaded, data)
    problems = (*loaded.problems, *check_fields(loaded.rules.values(), fields))
    if as_json:
        print_rows(problem.as_json() for problem in problems)
    else:
        _print_problems(problems)
        broken = f", {len(loaded.broken)} broken" if loaded.broken else ""
        rules = "1 rule" if len(loaded.rules) == 1 else f"{len(loaded.rules)} rules"
        typer.echo(f"{loaded.root}: {rules}{broken}")
    raise typer.Exit(any(problem.severity == "error" for problem in problems))


def _print_problems(problems: tuple[Problem, ...]) -> None:
    console = Console(stderr=False, soft_wrap=True)
    for problem in problems:
        style = "red" if problem.severity == "error" else "yellow"
        console.print(Text(str(problem), style=style))


def test(
    rules: Annotated[list[str] | None, typer.Argument(help="Only of these rules.")] = None,
    site: Site = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Runs the tests that stand beside the rules, on the production engine and a fast clock.

    Status 1 when one fails. Example: `catcher test wind-high`
    """
    from catcher import app as composition

    loaded = composition.load_site(site)
    cases = asyncio.run(composition.run_rule_tests(loaded, rules or []))
    if as_json:
        print_rows(case.as_json() for case in cases)
    else:
        for case in cases:
            _print_case(case)
        passed = sum(case.passed for case in cases)
        untested = " (no rule has tests: write some below it, as `tests:`)" if not cases else ""
        typer.echo(f"{passed} passed, {len(cases) - passed} failed{untested}")
    raise typer.Exit(not all(case.passed for case in cases))


def _print_case(case: Case) -> None:
    mark = Text("passed", "green") if case.passed else Text("FAILED", "red")
    Console(soft_wrap=True).print(mark, Text(f"{case.rule}: {case.name}"))
    for line in case.differences:
        typer.echo(f"    {line}")


def backtest(
    rules: Annotated[list[str] | None, typer.Argument(help="The rules; else all.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded streams: JSON Lines, plain or gzip, or Parquet."),
    ] = None,
    site: Site = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Plays recorded streams through rules, jobs included, and tells what they would have done.

    It has a ledger of its own and tells nobody. Example:
    `catcher backtest wind-high --data night.jsonl.gz --json`
    """
    from catcher import app as composition
    from catcher.authoring import Tally

    if not data:
        raise CatcherError("nothing to play", "name a recorded stream with --data FILE")
    loaded = composition.load_site(site)
    tally = Tally()

    def tell(row: Row) -> None:
        tally.count(row)
        if as_json:
            print_row(row)
        else:
            Console(soft_wrap=True).print(backtest_line(row))

    def reject(words: str) -> None:
        tally.rejected += 1
        if tally.rejected <= MOST_TOLD:
            typer.echo(words, err=True)

    with progress_line() as progress:
        asyncio.run(composition.run_backtest(loaded, rules or [], data, tell, progress, reject))
    if not as_json:
        typer.echo(tally.words())
    elif tally.rejected:
        typer.echo(tally.rejection(), err=True)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says how far it is; nothing where nobody looks."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield lambda words: None
        return
    # On the same terminal rows go above the line; rows for a pipe must not be caught by it.
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip
    with bar:
        task = bar.add_task("reading")
        yield lambda words: bar.update(task, description=words)


def schema(
    file: Annotated[
        File, typer.Argument(help="A rule, catcher.yaml, routes.yaml, or the views of SQL.")
    ] = File.rule,
    site: Site = None, data: Data = None,
) -> None:  # fmt: skip
    """Prints the JSON Schema of a file, for completion and hover in an editor.

    That of a rule knows the topics whose schema an engine of the site has seen.
    `views` prints the tables that `catcher query sql` may ask, as Markdown.

    In VS Code with the YAML extension: `catcher schema rule > .vscode/rule.json`, then
    `"yaml.schemas": {".vscode/rule.json": "rules/*.yaml"}` in the settings.
    Example: `catcher schema site > catcher.schema.json`
    """
    from catcher.app import SETTINGS, described_fields, load_site, views
    from catcher.authoring.schema import schema as made

    match file:
        case File.views:
            typer.echo(views())
            return
        case File.rule:
            schema_of = made("rule", SETTINGS, described_fields(load_site(site), data))
        case File.site:
            schema_of = made("site", SETTINGS)
        case File.routes:
            schema_of = made("routes", SETTINGS)
    typer.echo(json.dumps(schema_of, ensure_ascii=False, indent=2))


def backtest_line(row: Row) -> Text:
    """One object of `backtest --json` as a line for people."""
    head = f"{row['time']:<28} {row['kind']:<7} {row['rule']} {row['key']} "
    if row["kind"] == "firing":
        return Text(head + row["reason"])
    if row["kind"] == "run":
        known = {name: value for name, value in row["metrics"].items() if value is not None}
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in known.items())
        return Text(head + f"{row['state']} {row['error'] or numbers}")
    severity = Severity[row["severity"]]
    return Text(head + f"{row['severity']} {row['state']} {row['reason']}", COLOURS[severity])
