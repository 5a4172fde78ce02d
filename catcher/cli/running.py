"""Commands that run the engine: on a site's sources, a recording, or a simulated night."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from catcher.cli.options import DataOption, JsonOption, SiteOption, print_json_rows, print_table

PortOption = Annotated[int | None, typer.Option(help="Of the API; 0 takes a free one.")]
ExitAfterOption = Annotated[str, typer.Option(help="End by itself after a while, such as 60s.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (demo, run, replay, doctor):
        app.command(rich_help_panel="Running")(command)


def demo(
    data: DataOption = None,
    exit_after: ExitAfterOption = "",
    site: SiteOption = None,
    port: PortOption = 0,
    speed: Annotated[float, typer.Option(help="Simulated seconds a second.")] = 0,
) -> None:
    """A simulated night with everything embedded: no broker, no database server, no account.

    Example: `catcher demo --exit-after 60s --data /tmp/night`
    """
    from catcher import app as composition
    from catcher.cli.live_output import print_line_unless_tty, run_and_show_engine

    engine_context = composition.open_demo_engine(site, data, port, speed, print_line_unless_tty)
    asyncio.run(run_and_show_engine(engine_context, "Catcher: a simulated night", exit_after))


def run(
    site: SiteOption = None,
    data: DataOption = None,
    port: PortOption = None,
    exit_after: ExitAfterOption = "",
    rules: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Only rules with this tag; may be repeated."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="TAG", help="All rules but those with this tag."),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Several engines carry these rules at once.")
    ] = False,
) -> None:
    """Runs a site's rules on its sources until it is told to stop (Ctrl-C, SIGTERM).

    With a tag it carries some of the rules, beside other engines on one PostgreSQL ledger
    (docs/scale-out.md). Example: `catcher run --site /etc/catcher`
    """
    from catcher import app as composition
    from catcher.cli.live_output import print_line_unless_tty, run_and_show_engine

    rule_subset = None
    if rules or without or shared:
        rule_subset = composition.create_rule_subset(rules or (), without or (), shared)
    engine_context = composition.open_engine(site, data, port, print_line_unless_tty, rule_subset)
    asyncio.run(run_and_show_engine(engine_context, "Catcher", exit_after))


def replay(
    files: Annotated[list[Path], typer.Argument(help="Recorded streams.")],
    site: SiteOption = None, data: DataOption = None, port: PortOption = 0,
    speed: Annotated[str, typer.Option(help="Recorded seconds a second, or max.")] = "1",
    exit_after: ExitAfterOption = "",
) -> None:  # fmt: skip
    """Runs a site's rules on recorded streams in place of its sources; ends with them.

    Example: `catcher replay night.jsonl.gz --speed 60`
    """
    from catcher import app as composition
    from catcher.cli.live_output import print_line_unless_tty, run_and_show_engine

    engine_context = composition.open_replay_engine(
        site, data, files, speed, port, print_line_unless_tty
    )
    asyncio.run(run_and_show_engine(engine_context, "Catcher: replay", exit_after))


def doctor(
    site: SiteOption = None, data: DataOption = None,
    send_test: Annotated[
        str, typer.Option(metavar="SINK", help="Send a marked test through this sink instead.")
    ] = "",
    probe: Annotated[
        bool, typer.Option("--probe", help="Try out how much the brokers keep for us, too.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="List what nobody needs instead: orphaned artifacts.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --sweep: remove it.")] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Looks at the site, its stores and whatever runs, and says what to do.

    Status 1 when something is wrong. Example: `catcher doctor`, `catcher doctor --sweep --yes`,
    `catcher doctor --send-test tma-slack`
    """
    from catcher import app as composition

    if sweep:
        _print_unused_files(
            asyncio.run(composition.prune_unused_files(site, data, yes)), yes, as_json
        )
        return
    if send_test:
        rows = [asyncio.run(composition.send_test_notification(site, data, send_test, typer.echo))]
    else:
        rows = asyncio.run(composition.run_doctor(site, data, probe))
    if as_json:
        print_json_rows(rows)
    else:
        styles = {"ok": "green", "warning": "yellow", "error": "red"}
        print_table(
            rows,
            {
                "": lambda row: Text("●", styles[row["state"]]),
                "what": lambda row: row["what"],
                "found": lambda row: row["found"],
                "do": lambda row: row["hint"],
            },
        )
    raise typer.Exit(any(row["state"] == "error" for row in rows))


def _print_unused_files(rows: list[dict[str, Any]], was_removed: bool, as_json: bool) -> None:
    if as_json:
        print_json_rows(rows)
        return
    print_table(
        rows,
        {
            "what": lambda row: row["what"],
            "name": lambda row: row["name"],
            "MB": lambda row: f"{row['size'] / 1e6:.2f}",
            "written": lambda row: row["written"],
        },
    )
    size = sum(row["size"] for row in rows) / 1e6
    outcome_text = "removed" if was_removed else "would be removed; say --yes to remove them"
    typer.echo(f"{len(rows)} things of {size:.1f} MB {outcome_text}")
