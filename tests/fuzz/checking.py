"""What every problem of a site owes to whoever reads it."""

from __future__ import annotations

import re
from pathlib import Path

from catcher.site import Adapters, Site, load
from tests.fuzz.bounding import at_most
from tests.site.writing import misplaced

HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What would move the cursor, turn the direction of text or break the line of a message."""
STEPS = 60_000
"""Calls that a file may cost, and as many again for each 1,000 characters."""
SECRET = "s3cr3t-in-the-environment"


def checked(root: Path, name: str, text: str | bytes, adapters: Adapters | None = None) -> Site:
    """The site with this file: its problems say where, what and how to mend it, and no secret."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    (root / name).write_bytes(data)
    with at_most(STEPS * (1 + len(data) // 1_000)):
        site = load(root, {"HOME": SECRET, "SLACK_TOKEN": SECRET}, adapters)
    assert misplaced(site) == []
    for problem in site.problems:
        assert problem.hint or " takes " in problem.message, problem
        words = str(problem)
        assert len(words) < 1_000 and not HIDDEN.search(words) and SECRET not in words, problem
    assert all(one.problems for one in site.broken)
    return site
