"""The command that tries other limits of a rule on a recording."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from catcher.cli.checking import show_progress
from catcher.cli.options import JsonOption, SiteOption, print_json_rows, print_table
from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, format_duration, nanoseconds_to_seconds

if TYPE_CHECKING:
    from catcher.authoring.tuning import SweepResult

MAX_FACTORS = 50
DAY_SECONDS = 86_400


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
    site: SiteOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """How often a rule would have fired and alerted with lower and higher limits.

    Each level's limits (`when` and `clear`) are multiplied together, the others left out; all
    variants see the recording in one pass, jobs included. Example:
    `catcher tune wind-high --data night.jsonl.gz --factor 0.8 --factor 1 --factor 1.2`
    """
    from catcher import app as composition
    from catcher.authoring.tuning import DEFAULT_FACTORS

    if not data:
        raise CatcherError("nothing to play", "name a recorded stream with --data FILE")
    factors = _normalize_factors(factor or list(DEFAULT_FACTORS))
    rejections: list[str] = []
    loaded_site = composition.load_site(site)
    with show_progress() as progress:
        result = asyncio.run(
            composition.sweep_rule_limits(
                loaded_site, rule, data, factors, progress, rejections.append
            )
        )
    if as_json:
        print_json_rows(variant.to_json() for variant in result.variants)
    else:
        _print_variants(result)
    if rejections:
        typer.secho(
            f"{len(rejections)} lines were left out: {rejections[0]}", fg="yellow", err=True
        )


def _normalize_factors(factors: Sequence[float]) -> list[float]:
    if len(factors) > MAX_FACTORS or not all(0 < factor < 1e6 for factor in factors):
        raise CatcherError("these factors cannot be", f"give up to {MAX_FACTORS}, above nought")
    return sorted(set(factors))


def _print_variants(result: SweepResult) -> None:
    days = max(nanoseconds_to_seconds(result.end - result.start) / DAY_SECONDS, 1e-9)
    print_table(
        [variant.to_json() for variant in result.variants],
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
    typer.echo(f"on a recording from {result.span_text} UTC")
