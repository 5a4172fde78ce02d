"""A sink of the site's own: appends a line for each change of an alert to a file.

In alerts/routes.yaml: `night-journal: {journal: {file: /var/log/catcher/alerts.txt}}`
"""

from pathlib import Path

from catcher.model.time import format_instant


def deliver(notice, message, settings):
    """Called for each notice; whatever it raises is a delivery that is tried again."""
    time = format_instant(notice.time)[:19]
    line = f"{time}Z {message.headline}: {message.text}"
    with Path(settings["file"]).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
