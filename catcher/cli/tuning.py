"""Which limits would have told how much: a rule with others, on a recording."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from catcher.cli.checking import progress_line
from catcher.cli.options import Json, Site, print_rows, print_table
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, format_duration, to_seconds

if TYPE_CHECKING:
    from catcher.authoring.tuning import Tuned

MOST_FACTORS = 50
DAY = 86_400


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command(rich_help_panel="Before the night")(tune)


def tune(
    rule: Annotated[str, typer.Argument(help="The rule.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Recorded streams: JSON Lines or Parquet.")
    ] = None,
    factor: Annotated[
        list[float] | None, typer.Option(help="Multiplies the limits; may be repeated.")
    ] = None,
    site: Site = None, as_json: Json = False,
) -> None:  # fmt: skip
    """How often a rule would have fired and alerted with lower and higher limits.

    Each level's limits (`when` and `clear`) are multiplied together, the others left out; all
    variants see the recording in one pass, jobs included. Example:
    `catcher tune wind-high --data night.jsonl.gz --factor 0.8 --factor 1 --factor 1.2`
    """
    from catcher import app as composition
    from catcher.authoring.tuning import FACTORS

    if not data:
        raise CatcherError("nothing to play", "name a recorded stream with --data FILE")
    factors = _checked(factor or list(FACTORS))
    rejected: list[str] = []
    loaded = composition.load_site(site)
    with progress_line() as progress:
        found = asyncio.run(
            composition.run_tuning(loaded, rule, data, factors, progress, rejected.append)
        )
    if as_json:
        print_rows(one.as_json() for one in found.variants)
    else:
        _print(found)
    if rejected:
        typer.secho(f"{len(rejected)} lines were left out: {rejected[0]}", fg="yellow", err=True)


def _checked(factors: Sequence[float]) -> list[float]:
    if len(factors) > MOST_FACTORS or not all(0 < one < 1e6 for one in factors):
        raise CatcherError("these factors cannot be", f"give up to {MOST_FACTORS}, above nought")
    return sorted(set(factors))


def _print(found: Tuned) -> None:
    days = max(to_seconds(found.last - found.first) / DAY, 1e-9)
    print_table(
        [one.as_json() for one in found.variants],
        {
            "of": lambda row: row["what"],
            "times": lambda row: f"{row['factor']:g}",
            "limits": lambda row: Text(row["limits"], "bold" if row["factor"] == 1 else ""),
            "firings": lambda row: row["firings"],
            "alerts": lambda row: row["alerts"],
            "a day": lambda row: f"{row['alerts'] / days:.3g}" if days >= 1 else "",
            "open for": lambda row: format_duration(round(row["lasted_s"]) * SECOND),
        },
    )
    typer.echo(f"on a recording from {found.span} UTC")
