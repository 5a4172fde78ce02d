"""Computing by hand: a run once more, a job for an observation."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from catcher.cli.options import Data, Json, Site, print_row, print_table, wide_console
from catcher.model.problem import CatcherError

if TYPE_CHECKING:
    from catcher.app.reproducing import Reproduced


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command(rich_help_panel="Looking things up")(reproduce)
    app.command(rich_help_panel="Before the night")(job)


def reproduce(
    run: Annotated[str, typer.Argument(help="The run's id, as `catcher runs` shows it.")],
    site: Site = None, data: Data = None,
    present: Annotated[
        bool, typer.Option("--present", help="By the job as it is now, not as it was then.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="How far numbers may be apart, relative.", min=0)
    ] = 1e-9,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Computes a run again from exactly its inputs, by the job version that ran, and compares.

    Status 0: all is as it was; 1: inputs, metrics or artifacts differ; 2: it could not be done.
    Example: `catcher reproduce 1f3a9c0d2b47`
    """
    from catcher import app as composition

    found = asyncio.run(composition.reproduce(site, data, run, present, tolerance))
    if as_json:
        print_row(found.as_json())
    else:
        _print(found)
    raise typer.Exit(not found.same)


def _print(found: Reproduced) -> None:
    rows = [
        {"what": "input", "name": one.record.name, "same": one.usable, "words": one.words}
        for one in found.inputs
    ]
    rows += [one.as_json() for one in found.verdicts]
    typer.echo(f"{found.run.rule} {found.run.id}: the job {found.run.job}, {found.version}")
    print_table(
        rows,
        {
            "": lambda row: Text("same", "green") if row["same"] else Text("OTHER", "red"),
            "what": lambda row: row["what"],
            "name": lambda row: row["name"],
            "how": lambda row: row["words"],
        },
    )
    other = sum(not row["same"] for row in rows)
    if found.outcome is None:
        typer.echo("its inputs are not what they were: nothing was computed")
    else:
        typer.echo("reproduced" if found.same else f"not reproduced: {other} of {len(rows)} differ")


def job(
    name: Annotated[str, typer.Argument(help="The job's name.")],
    site: Site = None, data: Data = None,
    obs: Annotated[str, typer.Option(help="The id of the observation it is about.")] = "",
    rule: Annotated[str, typer.Option(help="With the inputs of this rule.")] = "",
    value: Annotated[
        list[str] | None, typer.Option("--with", help="name=value, before what the rule gives.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A folder for its artifacts.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Carries a job out here and now for an observation of the past. Nothing is kept or told.

    Status 1 when it failed. Example: `catcher job mount_jitter --obs MC_O_20230728_000042`
    """
    from catcher import app as composition
    from catcher.model.shown import run_page

    run, made = asyncio.run(composition.try_job(site, data, name, obs, rule, _values(value or [])))
    row = {**run_page(run), "artifacts": [one.name for one in made.values()]}
    if output is not None:
        _write(output, {one.name: one.data for one in made.values()})
    if as_json:
        print_row(row)
    else:
        _print_run(row)
    raise typer.Exit(run.state != "done")


def _print_run(row: dict[str, Any]) -> None:
    from catcher.cli.looking import page

    console = wide_console()
    for label, words in page({**row, "artifacts": []}):
        gap = "\n" if "\n" in words else ""
        console.print(Text(f"{label:<9}{gap}", style="dim"), Text(words), sep="")
    for artifact in row["artifacts"]:
        console.print(Text("artifact ", style="dim"), Text(artifact), sep="")


def _values(pairs: list[str]) -> dict[str, Any]:
    """Arguments from `name=value`: numbers, truth values and lists as JSON has them, else text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name.isidentifier():
            raise CatcherError(f"{pair!r} is no argument", "write name=value, such as horizon=10")
        values[name] = text
        with contextlib.suppress(ValueError):
            values[name] = json.loads(text)
    return values


def _write(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as trouble:
        raise CatcherError(
            f"{folder} cannot be written ({trouble.strerror})", "choose another place"
        ) from trouble
