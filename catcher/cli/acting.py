"""What people do to a running engine: fire a rule, take an alert, put it aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from catcher.cli.options import Data, Json, Row, Site, Who, print_row
from catcher.model.problem import CatcherError
from catcher.model.text import plain

Alert = Annotated[
    str, typer.Argument(help="The alert's id, as `catcher alerts` shows it, or its beginning.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (fire, ack, shelve, unshelve, note):
        app.command(rich_help_panel="At night")(command)


def fire(
    rule: Annotated[str, typer.Argument(help="The rule's id.")],
    site: Site = None, data: Data = None,
    event: Annotated[str, typer.Option(help="The event to fire it for, as JSON.")] = "",
    obs: Annotated[str, typer.Option(help="The id of an observation to fire it for.")] = "",
    tell: Annotated[bool, typer.Option(help="Let its result alert, as an automatic one.")] = False,
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Fires a rule by hand: a new run, marked, that replaces nothing and tells nobody.

    Example: `catcher fire mount-jitter --obs MC_O_20250424_000012`
    """
    from catcher import app as composition

    if event and obs:
        raise CatcherError("--event and --obs together say two things", "give one of them")
    body = {"event": _event(event), "observation": obs, "who": who, "tell": tell}
    row = composition.remote(site, data).fire(rule, body)
    _done(row, as_json, f"fired {rule}: {row['id']}; `catcher show {row['id']}` tells of its run")


def ack(
    alert: Alert, site: Site = None, data: Data = None,
    severity: Annotated[str, typer.Option(help="The worst you have seen of it.")] = "",
    note: Annotated[str, typer.Option(help="What you want to say.")] = "",
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Acknowledges an alert; refused if it got worse than the severity you name.

    Example: `catcher ack 5b1f0c9a77e2 --severity warning --note "closing the louvres"`
    """
    body = {"severity": severity or None, "note": note, "who": who}
    _change(site, data, alert, "ack", body, as_json)


def shelve(
    alert: Alert, reason: Annotated[str, typer.Option(help="Why.")], site: Site = None,
    data: Data = None, span: Annotated[str, typer.Option("--for", help="How long.")] = "30m",
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Puts an alert aside for a while; one that gets worse comes back by itself.

    Example: `catcher shelve 5b1f0c9a77e2 --for 30m --reason "known, being mended"`
    """
    _change(site, data, alert, "shelve", {"span": span, "reason": reason, "who": who}, as_json)


def unshelve(
    alert: Alert, site: Site = None, data: Data = None, who: Who = "operator",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Brings a shelved alert back.

    Example: `catcher unshelve 5b1f0c9a77e2`
    """
    _change(site, data, alert, "unshelve", {"who": who}, as_json)


def note(
    alert: Alert, text: Annotated[str, typer.Argument(help="What you want to say.")],
    site: Site = None, data: Data = None,
    link: Annotated[str, typer.Option(help="Where there is more: name=https://…")] = "",
    who: Who = "operator", as_json: Json = False,
) -> None:  # fmt: skip
    """Writes a note to an alert, for whoever looks at it next.

    Example: `catcher note 5b1f0c9a77e2 "telescope operator told" --link elog=https://elog/17`
    """
    from catcher import app as composition

    body = {"who": who, "note": text, "link": link}
    row = composition.remote(site, data).alert(alert, "note", body)
    _done(row, as_json, f"noted on {_name(row)}, which is {_standing(row)}")


def _change(
    site: Path | None, data: Path | None, alert: str, deed: str, body: Row, as_json: bool
) -> None:
    from catcher import app as composition

    row = composition.remote(site, data).alert(alert, deed, body)
    _done(row, as_json, f"{_name(row)} is {_standing(row)}")


def _standing(row: Row) -> str:
    """`acknowledged at SERIOUS`, `shelved at WARNING until 12:04:27Z`, `resolved`."""
    if row["state"] == "resolved":
        return "resolved"
    end = row["shelved_until"] if row["state"] == "shelved" else None
    until = f" until {end[:10]} {end[11:19]}Z" if end else ""
    return f"{row['state']} at {row['shown_severity']}{until}"


def _name(row: Row) -> str:
    """Which alert of the rule: the line must not fit another one as well."""
    return plain(" ".join(filter(None, (row["rule"], row["key"], row["per"]))))


def _done(row: Row, as_json: bool, words: str) -> None:
    if as_json:
        print_row(row)
    else:
        typer.echo(plain(words, 500))


def _event(text: str) -> Row | None:
    if not text:
        return None
    try:
        row = json.loads(text)
    except ValueError as trouble:
        raise CatcherError(
            f"--event is no JSON ({trouble})",
            """write it like '{"topic": "…", "time": "…", "fields": {…}}'""",
        ) from trouble
    if not isinstance(row, dict):
        raise CatcherError("--event is no JSON object", 'it starts with {"topic": …')
    return row
