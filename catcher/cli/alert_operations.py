"""Commands of the alert pipeline: assignments, silences, shifts, dead letters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from catcher.cli.options import (
    DataOption,
    JsonOption,
    Row,
    SiteOption,
    WhoOption,
    print_json_row,
    print_json_rows,
    print_table,
)
from catcher.cli.time_arguments import parse_labels, parse_time_option
from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import wall_clock

if TYPE_CHECKING:
    from catcher.authoring.reports import ShiftSummary

ReasonOption = Annotated[str, typer.Option(help="Why.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (assign, confirm, silence, unsilence, silences, handover, dead_letters):
        app.command(rich_help_panel="At night")(command)


def assign(
    alert: Annotated[str, typer.Argument(help="The alert's id, or its beginning.")],
    to: Annotated[str, typer.Option(help="Who is to see to it.")],
    site: SiteOption = None,
    data: DataOption = None,
    who: WhoOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Says who sees to an alert.

    Example: `catcher assign 5b1f0c9a77e2 --to ana`
    """
    path = f"/alerts/{quote(alert, safe='')}/assign"
    row = _post_to_engine(site, data, path, {"to": to, "who": who})
    _print_result(row, as_json, f"{row['rule']} {row['key']} is {row['assignee']}'s")


def confirm(
    id: Annotated[str, typer.Argument(help="The id of a shelved alert or of a silence.")],
    site: SiteOption = None,
    data: DataOption = None,
    who: WhoOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Takes over what the shift before put aside; what nobody confirms comes back.

    Example: `catcher confirm 5b1f0c9a77e2 --who ana`
    """
    row = _post_to_engine(site, data, f"/confirm/{quote(id, safe='')}", {"who": who})
    _print_result(row, as_json, f"{row['confirmed']} is {who}'s now")


def silence(
    name: Annotated[str, typer.Argument(help="A rule, the name or id of an alert, or a glob.")],
    reason: ReasonOption, site: SiteOption = None, data: DataOption = None,
    span: Annotated[str, typer.Option("--for", help="How long.")] = "1h",
    label: Annotated[list[str] | None, typer.Option(help="name=glob; may be repeated.")] = None,
    severity: Annotated[
        str, typer.Option(help="Up to which severity; what is worse is told all the same.")
    ] = "serious",
    who: WhoOption = "operator", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Holds back all news of what fits, for a while.

    Example: `catcher silence "wind-*" --for 2h --reason "anemometer iced" --label place=summit`
    """
    body = {
        "name": name, "labels": parse_labels(label or []), "severity": severity, "span": span,
        "reason": reason, "who": who,
    }  # fmt: skip
    row = _post_to_engine(site, data, "/silences", body)
    until = row["until"][:19]
    message = (
        f"{row['id']}: nobody hears of {_format_silence_target(row)} "
        f"up to {row['up_to']} until {until}"
    )
    _print_result(row, as_json, f"{message}Z; {row['covered'] or 'none'} of what is open fits")


def unsilence(
    id: Annotated[str, typer.Argument(help="The silence's id, or its beginning.")],
    site: SiteOption = None,
    data: DataOption = None,
    who: WhoOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Ends a silence before its time; what it held back is told.

    Example: `catcher unsilence s1f0c9a77`
    """
    row = _post_to_engine(site, data, f"/silences/{quote(id, safe='')}/end", {"who": who})
    _print_result(row, as_json, f"{row['id']} is over: it held back {row['held_back']} alerts")


def silences(site: SiteOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """The silences in force, the next to end first; idle ones have held nothing back.

    Example: `catcher silences`
    """
    from catcher import app as composition

    rows = composition.get_alert_resource(site, data, "/silences")
    if as_json:
        return print_json_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "what": _format_silence_target,
            "up to": lambda row: row["up_to"],
            "until": lambda row: f"{row['ends'][:19]}Z" + format_confirmation_suffix(row),
            "held back": lambda row: (
                Text("idle", "yellow") if row["idle"] else _format_held_back_counts(row)
            ),
            "who": lambda row: row["who"],
            "why": lambda row: row["reason"],
        },
    )


def handover(
    site: SiteOption = None, data: DataOption = None,
    to: Annotated[str, typer.Option(help="Who takes over.")] = "",
    since: Annotated[str, typer.Option(help="Prints what was, from a time on: 12h.")] = "",
    note: Annotated[str, typer.Option(help="What they should know.")] = "",
    html: Annotated[bool, typer.Option("--html", help="The summary as a page.")] = False,
    output: Annotated[Path | None, typer.Option(help="Writes the summary into a file.")] = None,
    who: WhoOption = "operator", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Hands the shift over (--to), or says what it was like (--since); or who is on it.

    Open alerts are then the new one's, who has to confirm within 30 minutes what is shelved or
    silenced, or it comes back. `on-shift` in the routes reaches them from then on.

    Example: `catcher handover --since 12h --output shift.md`, then `catcher handover --to bo`
    """
    from catcher import app as composition

    if since:
        _print_or_write_summary(_fetch_shift_summary(site, data, since), html, output)
    if to:
        row = _post_to_engine(site, data, "/shift", {"to": to, "note": note, "who": who})
        _print_result(row, as_json, f"{row['who']} is on shift since {row['since'][:19]}")
    if not to and not since:
        row = composition.get_alert_resource(site, data, "/shift")
        message = f"{row['who']} is on shift since {(row['since'] or '')[:19]}"
        _print_result(row, as_json, message if row["who"] else "nobody has said who is on shift")


def _fetch_shift_summary(site: Path | None, data: Path | None, since: str) -> ShiftSummary:
    from catcher import app as composition
    from catcher.authoring.reports import build_shift_summary

    async def fetch_summary() -> ShiftSummary:
        async with composition.open_client(site, data) as client:
            return await build_shift_summary(client, parse_time_option(since) or 0, wall_clock())

    return asyncio.run(fetch_summary())


def _print_or_write_summary(summary: ShiftSummary, html: bool, output: Path | None) -> None:
    from catcher.authoring.reports import render_summary_html, render_summary_markdown

    is_html = html or (output is not None and output.suffix in (".html", ".htm"))
    text = render_summary_html(summary) if is_html else render_summary_markdown(summary)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CatcherError(
            f"{output} cannot be written ({error.strerror})", "choose another place"
        ) from error
    typer.echo(f"written to {output}")


def dead_letters(
    site: SiteOption = None, data: DataOption = None,
    show: Annotated[str, typer.Option(help="One letter whole, by its id.")] = "",
    resend: Annotated[list[str] | None, typer.Option(help="Sends these again, by id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Sends all of them again.")] = False,
    sink: Annotated[str, typer.Option(help="Only of this sink.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 50,
    who: WhoOption = "operator", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Messages that a sink would not take, and why; sends them again on request.

    What is sent again says how its alert stands now. Example: `catcher dead-letters --all`
    """
    from catcher import app as composition

    if resend or every:
        row = _post_to_engine(site, data, "/dead-letters/resend", {
            "ids": resend or [], "every": every, "who": who,
        })  # fmt: skip
        return _print_result(row, as_json, f"{row['resent']} on their way again")
    parameters = {"sink": sink, "limit": str(10_000 if show else limit)}
    rows = composition.get_alert_resource(site, data, "/dead-letters", parameters)
    if show:
        return _print_matching_dead_letter(rows, show)
    if as_json:
        return print_json_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "given up": lambda row: row["given_up"][:19],
            "sink": lambda row: row["sink"],
            "alert": lambda row: sanitize_single_line(f"{row['severity']} {row['name']}"),
            "change": lambda row: row["change"],
            "tries": lambda row: row["attempts"],
            "why": lambda row: sanitize_single_line(row["error"]),
        },
    )


def _print_matching_dead_letter(rows: list[Row], letter_id: str) -> None:
    matches = [row for row in rows if row["id"].startswith(letter_id)]
    if len(matches) != 1:
        problem_text = (
            f"{len(matches)} dead letters begin with" if matches else "no dead letter is called"
        )
        raise CatcherError(f"{problem_text} {letter_id!r}", "`catcher dead-letters` lists them")
    print_json_row(matches[0])


def format_confirmation_suffix(row: Row) -> str:
    """Returns what follows the end of a shelving or silence of the previous shift."""
    return " unless confirmed" if row["confirm_by"] else ""


def _format_held_back_counts(row: Row) -> str:
    """Formats what was open when the silence was made, and what is new since."""
    parts = [f"{row['covered']} open then" if row["covered"] else ""]
    parts += [f"{row['held_back']} new" if row["held_back"] else ""]
    return ", ".join(filter(None, parts))


def _format_silence_target(row: Row) -> str:
    return " ".join([row["name"], *(f"{name}={glob}" for name, glob in row["labels"].items())])


def _post_to_engine(site: Path | None, data: Path | None, path: str, body: Row) -> Row:
    from catcher import app as composition

    return composition.get_engine_client(site, data).post_json(path, body)


def _print_result(row: Row, as_json: bool, message: str) -> None:
    if as_json:
        print_json_row(row)
    else:
        typer.echo(sanitize_single_line(message, 500))
