"""Manual computations: a run once more, a job for an observation."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from catcher.cli.options import (
    DataOption,
    JsonOption,
    SiteOption,
    create_wide_console,
    print_json_row,
    print_table,
)
from catcher.model.errors import CatcherError

if TYPE_CHECKING:
    from catcher.app.reproducing import Reproduction


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command(rich_help_panel="Looking things up")(reproduce)
    app.command(rich_help_panel="Before the night")(job)


def reproduce(
    run: Annotated[str, typer.Argument(help="The run's id, as `catcher runs` shows it.")],
    site: SiteOption = None, data: DataOption = None,
    present: Annotated[
        bool, typer.Option("--present", help="By the job as it is now, not as it was then.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="How far numbers may be apart, relative.", min=0)
    ] = 1e-9,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Computes a run again from exactly its inputs, by the job version that ran, and compares.

    Status 0: all is as it was; 1: inputs, metrics or artifacts differ; 2: it could not be done.
    Example: `catcher reproduce 1f3a9c0d2b47`
    """
    from catcher import app as composition

    result = asyncio.run(composition.reproduce_run(site, data, run, present, tolerance))
    if as_json:
        print_json_row(result.to_json())
    else:
        _print_reproduction(result)
    raise typer.Exit(not result.is_same)


def _print_reproduction(result: Reproduction) -> None:
    rows = [
        {
            "what": "input",
            "name": replayed_input.record.name,
            "same": replayed_input.is_usable,
            "words": replayed_input.message,
        }
        for replayed_input in result.inputs
    ]
    rows += [comparison.to_json() for comparison in result.comparisons]
    typer.echo(f"{result.run.rule} {result.run.id}: the job {result.run.job}, {result.version}")
    print_table(
        rows,
        {
            "": lambda row: Text("same", "green") if row["same"] else Text("OTHER", "red"),
            "what": lambda row: row["what"],
            "name": lambda row: row["name"],
            "how": lambda row: row["words"],
        },
    )
    difference_count = sum(not row["same"] for row in rows)
    if result.outcome is None:
        typer.echo("its inputs are not what they were: nothing was computed")
    else:
        typer.echo(
            "reproduced"
            if result.is_same
            else f"not reproduced: {difference_count} of {len(rows)} differ"
        )


def job(
    name: Annotated[str, typer.Argument(help="The job's name.")],
    site: SiteOption = None, data: DataOption = None,
    obs: Annotated[str, typer.Option(help="The id of the observation it is about.")] = "",
    rule: Annotated[str, typer.Option(help="With the inputs of this rule.")] = "",
    value: Annotated[
        list[str] | None, typer.Option("--with", help="name=value, before what the rule gives.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A folder for its artifacts.")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Carries a job out here and now for an observation of the past. Nothing is kept or told.

    Status 1 when it failed. Example: `catcher job mount_jitter --obs MC_O_20230728_000042`
    """
    from catcher import app as composition
    from catcher.model.json_rows import run_to_detailed_row

    run, artifacts = asyncio.run(
        composition.run_job_in_memory(
            site, data, name, obs, rule, _parse_job_arguments(value or [])
        )
    )
    row = {
        **run_to_detailed_row(run),
        "artifacts": [artifact.name for artifact in artifacts.values()],
    }
    if output is not None:
        _write_artifacts(output, {artifact.name: artifact.data for artifact in artifacts.values()})
    if as_json:
        print_json_row(row)
    else:
        _print_run(row)
    raise typer.Exit(run.state != "done")


def _print_run(row: dict[str, Any]) -> None:
    from catcher.cli.inspect import iter_run_details

    console = create_wide_console()
    for label, text in iter_run_details({**row, "artifacts": []}):
        separator = "\n" if "\n" in text else ""
        console.print(Text(f"{label:<9}{separator}", style="dim"), Text(text), sep="")
    for artifact in row["artifacts"]:
        console.print(Text("artifact ", style="dim"), Text(artifact), sep="")


def _parse_job_arguments(pairs: list[str]) -> dict[str, Any]:
    """Parses arguments from `name=value`: JSON's numbers, truth values and lists, else text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise CatcherError(f"{pair!r} is no argument", "write name=value, such as horizon=10")
        values[name] = text
        with contextlib.suppress(ValueError):
            values[name] = json.loads(text)
    return values


def _write_artifacts(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise CatcherError(
            f"{folder} cannot be written ({error.strerror})", "choose another place"
        ) from error
