"""The alert desk: who sees to what, what is put aside, who is on shift."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from catcher.cli.options import Data, Json, Row, Site, Who, print_row, print_rows, print_table
from catcher.cli.spans import instant, labelled
from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import wall_clock

if TYPE_CHECKING:
    from catcher.authoring.reports import Summary

Reason = Annotated[str, typer.Option(help="Why.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (assign, confirm, silence, unsilence, silences, handover, dead_letters):
        app.command(rich_help_panel="At night")(command)


def assign(
    alert: Annotated[str, typer.Argument(help="The alert's id, or its beginning.")],
    to: Annotated[str, typer.Option(help="Who is to see to it.")],
    site: Site = None, data: Data = None, who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Says who sees to an alert.

    Example: `catcher assign 5b1f0c9a77e2 --to ana`
    """
    path = f"/alerts/{quote(alert, safe='')}/assign"
    row = _do(site, data, path, {"to": to, "who": who})
    _tell(row, as_json, f"{row['rule']} {row['key']} is {row['assignee']}'s")


def confirm(
    id: Annotated[str, typer.Argument(help="The id of a shelved alert or of a silence.")],
    site: Site = None, data: Data = None, who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Takes over what the shift before put aside; what nobody confirms comes back.

    Example: `catcher confirm 5b1f0c9a77e2 --who ana`
    """
    row = _do(site, data, f"/confirm/{quote(id, safe='')}", {"who": who})
    _tell(row, as_json, f"{row['confirmed']} is {who}'s now")


def silence(
    name: Annotated[str, typer.Argument(help="A rule, the name or id of an alert, or a glob.")],
    reason: Reason, site: Site = None, data: Data = None,
    span: Annotated[str, typer.Option("--for", help="How long.")] = "1h",
    label: Annotated[list[str] | None, typer.Option(help="name=glob; may be repeated.")] = None,
    severity: Annotated[
        str, typer.Option(help="Up to which severity; what is worse is told all the same.")
    ] = "serious",
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Holds back all news of what fits, for a while.

    Example: `catcher silence "wind-*" --for 2h --reason "anemometer iced" --label place=summit`
    """
    body = {
        "name": name, "labels": labelled(label or []), "severity": severity, "span": span,
        "reason": reason, "who": who,
    }  # fmt: skip
    row = _do(site, data, "/silences", body)
    until = row["until"][:19]
    words = f"{row['id']}: nobody hears of {_what(row)} up to {row['up_to']} until {until}"
    _tell(row, as_json, f"{words}Z; {row['covered'] or 'none'} of what is open fits")


def unsilence(
    id: Annotated[str, typer.Argument(help="The silence's id, or its beginning.")],
    site: Site = None, data: Data = None, who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Ends a silence before its time; what it held back is told.

    Example: `catcher unsilence s1f0c9a77`
    """
    row = _do(site, data, f"/silences/{quote(id, safe='')}/end", {"who": who})
    _tell(row, as_json, f"{row['id']} is over: it held back {row['held_back']} alerts")


def silences(site: Site = None, data: Data = None, as_json: Json = False) -> None:
    """The silences in force, the next to end first; idle ones have held nothing back.

    Example: `catcher silences`
    """
    from catcher import app as composition

    rows = composition.look(site, data, "/silences")
    if as_json:
        return print_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "what": _what,
            "up to": lambda row: row["up_to"],
            "until": lambda row: f"{row['ends'][:19]}Z" + unconfirmed(row),
            "held back": lambda row: Text("idle", "yellow") if row["idle"] else _held(row),
            "who": lambda row: row["who"],
            "why": lambda row: row["reason"],
        },
    )


def handover(
    site: Site = None, data: Data = None,
    to: Annotated[str, typer.Option(help="Who takes over.")] = "",
    since: Annotated[str, typer.Option(help="Prints what was, from a time on: 12h.")] = "",
    note: Annotated[str, typer.Option(help="What they should know.")] = "",
    html: Annotated[bool, typer.Option("--html", help="The summary as a page.")] = False,
    output: Annotated[Path | None, typer.Option(help="Writes the summary into a file.")] = None,
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Hands the shift over (--to), or says what it was like (--since); or who is on it.

    Open alerts are then the new one's, who has to confirm within 30 minutes what is shelved or
    silenced, or it comes back. `on-shift` in the routes reaches them from then on.

    Example: `catcher handover --since 12h --output shift.md`, then `catcher handover --to bo`
    """
    from catcher import app as composition

    if since:
        _print_summary(_summary(site, data, since), html, output)
    if to:
        row = _do(site, data, "/shift", {"to": to, "note": note, "who": who})
        _tell(row, as_json, f"{row['who']} is on shift since {row['since'][:19]}")
    if not to and not since:
        row = composition.look(site, data, "/shift")
        known = f"{row['who']} is on shift since {(row['since'] or '')[:19]}"
        _tell(row, as_json, known if row["who"] else "nobody has said who is on shift")


def _summary(site: Path | None, data: Path | None, since: str) -> Summary:
    from catcher import app as composition
    from catcher.authoring.reports import shift_summary

    async def ask() -> Summary:
        async with composition.open_client(site, data) as client:
            return await shift_summary(client, instant(since) or 0, wall_clock())

    return asyncio.run(ask())


def _print_summary(summary: Summary, html: bool, output: Path | None) -> None:
    from catcher.authoring.reports import as_html, as_markdown

    as_page = html or (output is not None and output.suffix in (".html", ".htm"))
    text = as_html(summary) if as_page else as_markdown(summary)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as trouble:
        raise CatcherError(
            f"{output} cannot be written ({trouble.strerror})", "choose another place"
        ) from trouble
    typer.echo(f"written to {output}")


def dead_letters(
    site: Site = None, data: Data = None,
    show: Annotated[str, typer.Option(help="One letter whole, by its id.")] = "",
    resend: Annotated[list[str] | None, typer.Option(help="Sends these again, by id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Sends all of them again.")] = False,
    sink: Annotated[str, typer.Option(help="Only of this sink.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 50,
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Messages that a sink would not take, and why; sends them again on request.

    What is sent again says how its alert stands now. Example: `catcher dead-letters --all`
    """
    from catcher import app as composition

    if resend or every:
        row = _do(site, data, "/dead-letters/resend", {
            "ids": resend or [], "every": every, "who": who,
        })  # fmt: skip
        return _tell(row, as_json, f"{row['resent']} on their way again")
    asked = {"sink": sink, "limit": str(10_000 if show else limit)}
    rows = composition.look(site, data, "/dead-letters", asked)
    if show:
        return _show_letter(rows, show)
    if as_json:
        return print_rows(rows)
    print_table(
        rows,
        {
            "id": lambda row: row["id"],
            "given up": lambda row: row["given_up"][:19],
            "sink": lambda row: row["sink"],
            "alert": lambda row: plain(f"{row['severity']} {row['name']}"),
            "change": lambda row: row["change"],
            "tries": lambda row: row["attempts"],
            "why": lambda row: plain(row["error"]),
        },
    )


def _show_letter(rows: list[Row], id: str) -> None:
    found = [row for row in rows if row["id"].startswith(id)]
    if len(found) != 1:
        words = f"{len(found)} dead letters begin with" if found else "no dead letter is called"
        raise CatcherError(f"{words} {id!r}", "`catcher dead-letters` lists them")
    print_row(found[0])


def unconfirmed(row: Row) -> str:
    """What stands behind the end of a shelf or silence of the shift before."""
    return " unless confirmed" if row["confirm_by"] else ""


def _held(row: Row) -> str:
    """What was open when it was made, and the news since."""
    parts = [f"{row['covered']} open then" if row["covered"] else ""]
    parts += [f"{row['held_back']} new" if row["held_back"] else ""]
    return ", ".join(filter(None, parts))


def _what(row: Row) -> str:
    return " ".join([row["name"], *(f"{name}={glob}" for name, glob in row["labels"].items())])


def _do(site: Path | None, data: Path | None, path: str, body: Row) -> Row:
    from catcher import app as composition

    return composition.remote(site, data).desk(path, body)


def _tell(row: Row, as_json: bool, words: str) -> None:
    if as_json:
        print_row(row)
    else:
        typer.echo(plain(words, 500))
