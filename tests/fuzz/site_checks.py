"""What every problem of a site owes to whoever reads it."""

from __future__ import annotations

import re
from pathlib import Path

from catcher.site import Adapters, Site, load_site_folder
from tests.fuzz.call_limit import limit_calls
from tests.site.site_files import list_misplaced_problems

HIDDEN_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What would move the cursor, turn the direction of text or break the line of a message."""
MAX_CALLS = 60_000
"""Calls that a file may cost, and as many again for each 1,000 characters."""
SECRET = "s3cr3t-in-the-environment"


def load_checked_site(
    site_root: Path, name: str, text: str | bytes, adapters: Adapters | None = None
) -> Site:
    """The site with this file: its problems say where, what and how to mend it, and no secret."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    (site_root / name).write_bytes(data)
    with limit_calls(MAX_CALLS * (1 + len(data) // 1_000)):
        site = load_site_folder(site_root, {"HOME": SECRET, "SLACK_TOKEN": SECRET}, adapters)
    assert list_misplaced_problems(site) == []
    for problem in site.problems:
        assert problem.hint or " takes " in problem.message, problem
        message = str(problem)
        assert (
            len(message) < 1_000 and not HIDDEN_CHARACTERS.search(message) and SECRET not in message
        ), problem
    assert all(broken_rule.problems for broken_rule in site.broken_rules)
    return site
