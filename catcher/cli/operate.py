"""Commands for a running engine: fire a rule, acknowledge or shelve an alert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from catcher.cli.options import DataOption, JsonOption, Row, SiteOption, WhoOption, print_json_row
from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line

AlertArgument = Annotated[
    str, typer.Argument(help="The alert's id, as `catcher alerts` shows it, or its beginning.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (fire, ack, shelve, unshelve, note):
        app.command(rich_help_panel="At night")(command)


def fire(
    rule: Annotated[str, typer.Argument(help="The rule's id.")],
    site: SiteOption = None, data: DataOption = None,
    event: Annotated[str, typer.Option(help="The event to fire it for, as JSON.")] = "",
    obs: Annotated[str, typer.Option(help="The id of an observation to fire it for.")] = "",
    tell: Annotated[bool, typer.Option(help="Let its result alert, as an automatic one.")] = False,
    who: WhoOption = "operator", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Fires a rule by hand: a new run, marked, that replaces nothing and tells nobody.

    Example: `catcher fire mount-jitter --obs MC_O_20250424_000012`
    """
    from catcher import app as composition

    if event and obs:
        raise CatcherError("--event and --obs together say two things", "give one of them")
    body = {"event": _parse_event_option(event), "observation": obs, "who": who, "tell": tell}
    row = composition.get_engine_client(site, data).fire_rule(rule, body)
    _print_result(
        row, as_json, f"fired {rule}: {row['id']}; `catcher show {row['id']}` tells of its run"
    )


def ack(
    alert: AlertArgument, site: SiteOption = None, data: DataOption = None,
    severity: Annotated[str, typer.Option(help="The worst you have seen of it.")] = "",
    note: Annotated[str, typer.Option(help="What you want to say.")] = "",
    who: WhoOption = "operator", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Acknowledges an alert; refused if it got worse than the severity you name.

    Example: `catcher ack 5b1f0c9a77e2 --severity warning --note "closing the louvres"`
    """
    body = {"severity": severity or None, "note": note, "who": who}
    _send_alert_command(site, data, alert, "ack", body, as_json)


def shelve(
    alert: AlertArgument,
    reason: Annotated[str, typer.Option(help="Why.")],
    site: SiteOption = None,
    data: DataOption = None,
    span: Annotated[str, typer.Option("--for", help="How long.")] = "30m",
    who: WhoOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Puts an alert aside for a while; one that gets worse comes back by itself.

    Example: `catcher shelve 5b1f0c9a77e2 --for 30m --reason "known, being mended"`
    """
    _send_alert_command(
        site, data, alert, "shelve", {"span": span, "reason": reason, "who": who}, as_json
    )


def unshelve(
    alert: AlertArgument,
    site: SiteOption = None,
    data: DataOption = None,
    who: WhoOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Brings a shelved alert back.

    Example: `catcher unshelve 5b1f0c9a77e2`
    """
    _send_alert_command(site, data, alert, "unshelve", {"who": who}, as_json)


def note(
    alert: AlertArgument, text: Annotated[str, typer.Argument(help="What you want to say.")],
    site: SiteOption = None, data: DataOption = None,
    link: Annotated[str, typer.Option(help="Where there is more: name=https://…")] = "",
    who: WhoOption = "operator", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Writes a note to an alert, for whoever looks at it next.

    Example: `catcher note 5b1f0c9a77e2 "telescope operator told" --link elog=https://elog/17`
    """
    from catcher import app as composition

    body = {"who": who, "note": text, "link": link}
    row = composition.get_engine_client(site, data).send_alert_command(alert, "note", body)
    _print_result(
        row, as_json, f"noted on {_format_alert_name(row)}, which is {_format_alert_state(row)}"
    )


def _send_alert_command(
    site: Path | None, data: Path | None, alert: str, command: str, body: Row, as_json: bool
) -> None:
    from catcher import app as composition

    row = composition.get_engine_client(site, data).send_alert_command(alert, command, body)
    _print_result(row, as_json, f"{_format_alert_name(row)} is {_format_alert_state(row)}")


def _format_alert_state(row: Row) -> str:
    """Returns `acknowledged at SERIOUS`, `shelved at WARNING until 12:04:27Z` or `resolved`."""
    if row["state"] == "resolved":
        return "resolved"
    until_time = row["shelved_until"] if row["state"] == "shelved" else None
    until_text = f" until {until_time[:10]} {until_time[11:19]}Z" if until_time else ""
    return f"{row['state']} at {row['shown_severity']}{until_text}"


def _format_alert_name(row: Row) -> str:
    """Names the alert with its keys: the line must not fit another alert of the rule."""
    return sanitize_single_line(" ".join(filter(None, (row["rule"], row["key"], row["per"]))))


def _print_result(row: Row, as_json: bool, message: str) -> None:
    if as_json:
        print_json_row(row)
    else:
        typer.echo(sanitize_single_line(message, 500))


def _parse_event_option(text: str) -> Row | None:
    if not text:
        return None
    try:
        row = json.loads(text)
    except ValueError as error:
        raise CatcherError(
            f"--event is no JSON ({error})",
            """write it like '{"topic": "…", "time": "…", "fields": {…}}'""",
        ) from error
    if not isinstance(row, dict):
        raise CatcherError("--event is no JSON object", 'it starts with {"topic": …')
    return row
