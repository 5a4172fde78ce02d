"""Commands for the look of alerts: a preview in each sink, and a template of a custom sink."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from catcher.cli.options import SEVERITY_STYLES, JsonOption, Row, SiteOption, print_json_rows
from catcher.model.alert import Severity
from catcher.model.errors import CatcherError
from catcher.model.text import strip_control_characters


class ScaffoldKind(StrEnum):
    """What can be created from a template."""

    sink = "sink"


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (preview, new):
        app.command(rich_help_panel="Before the night")(command)


def preview(
    rule: Annotated[str, typer.Argument(help="The rule's id.")],
    site: SiteOption = None,
    severity: Annotated[str, typer.Option(help="warning, serious or critical.")] = "",
    event: Annotated[
        str, typer.Option(help="Fields that the message shows, as JSON: an event, or its fields.")
    ] = "",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Shows the message of a rule as each sink on its way would; nothing is sent.

    What the event does not give stands as ‹name› or 12.345. Example:
    `catcher preview wind-high --severity critical --event '{"speed": 21.4, "salIndex": 301}'`
    """
    from catcher import app as composition

    try:
        level = Severity.parse(severity) if severity else None
    except ValueError as error:
        raise CatcherError(str(error)) from error
    name, rows = composition.preview_alert(site, rule, level, _parse_event_fields(event))
    if as_json:
        return print_json_rows(rows)
    console = Console(soft_wrap=False)
    if not rows:
        console.print(f"{name}: nobody would be told now; `catcher routes test` says why")
    for row in rows:
        console.print(_build_preview_panel(row, level))


def new(
    kind: Annotated[ScaffoldKind, typer.Argument(help="What to begin.")],
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")],
    site: SiteOption = None,
) -> None:
    """Begins a file of the site's own, with an example in it.

    Example: `catcher new sink pager`
    """
    from catcher import app as composition

    typer.echo(composition.create_scaffold(site, kind.value, name))


def _build_preview_panel(row: Row, severity: Severity | None) -> Panel:
    style = "red" if row["problem"] else SEVERITY_STYLES[severity] if severity else "none"
    text = Text(strip_control_characters(row["text"] or row["problem"]))
    title = f"{row['sink']} ({row['kind']})" if row["kind"] else row["sink"]
    return Panel(text, title=title, title_align="left", border_style=style)


def _parse_event_fields(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        payload = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (ValueError, OSError) as error:
        raise CatcherError(f"--event is no JSON ({error})", """write '{"speed": 12}'""") from error
    if not isinstance(payload, dict):
        raise CatcherError("--event is no JSON object", """write '{"speed": 12}'""")
    fields = payload.get("fields")
    return fields if "topic" in payload and isinstance(fields, dict) else payload
