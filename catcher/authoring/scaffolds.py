"""Templates of a site's own files, for `catcher new`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catcher.model.errors import CatcherError

_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SINK_TEMPLATE = '''"""{name}: a sink of our own.

In alerts/routes.yaml, among the sinks:

    my-{name}: {{{name}: {{url: "https://…", token: "${{MY_TOKEN}}"}}}}

Try it with `catcher preview RULE` and `catcher doctor --send-test my-{name}`.
"""


async def deliver(notice, message, settings):
    """Called for each notice, in a thread of its own; a plain `def` will do as well.

    notice.kind: opened, raised, lowered, resolved, updated, reminder, test; notice.alert: the
    alert as it stands; notice.id: the same for a repeat. message: headline, text, facts, links,
    all plain text. settings: what stands in routes.yaml.

    Whatever is raised is a delivery that failed and is tried again. What is returned comes back
    as notice.receipt with the next notice of the same alert.
    """
    before = notice.receipt.get("id")
    print(settings, before, message.headline, message.text)
    return {{"id": before or notice.alert.id}}
'''


@dataclass(frozen=True, slots=True)
class FileTemplate:
    """The path of a new file in a site, and its text."""

    path: str
    text: str


FILE_TEMPLATES: Mapping[str, FileTemplate] = {
    "sink": FileTemplate("alerts/sinks/{name}.py", _SINK_TEMPLATE)
}


def create_file_from_template(root: Path, kind: str, name: str) -> Path:
    """Writes a new file of a site from a template, and returns its path.
    Raises CatcherError if the name is invalid or the file exists; an existing file is never
    changed.
    """
    template = FILE_TEMPLATES[kind]
    if not _NAME_PATTERN.fullmatch(name):
        raise CatcherError(
            f"{name!r} cannot be the name of a {kind}",
            "use small letters, digits and _, like pager",
        )
    path = root / template.path.format(name=name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(template.text.format(name=name))
    except FileExistsError:
        raise CatcherError(f"{path} is there already", "choose another name") from None
    except OSError as error:
        raise CatcherError(f"{path} cannot be written: {error.strerror}") from error
    return path
