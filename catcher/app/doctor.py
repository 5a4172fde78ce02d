"""What is well and what is not, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catcher.api.remote import Remote
from catcher.app.checkup import Row, examine_stores, row
from catcher.app.editions import ROUTES, SETTINGS
from catcher.model.health import TURNED_DOWN_FOR_GOOD
from catcher.model.problem import CatcherError
from catcher.site import Site

_AT_A_START = {
    SETTINGS: "`catcher run` does not start so",
    ROUTES: "a start leaves this part out",
}
"""What becomes of a file that has a problem, where no engine runs on what it was before."""
LITTLE = 2**30
"""Free bytes under which a night's telemetry and artifacts may not fit."""
MENDS = {
    "away": "see that it runs and can be reached from here; Catcher goes on trying by itself",
    "stale": "see why it sends nothing",
}
BLOCKED = "an `async def` job or a sink of the site may compute there; `def` jobs have processes"
LOCKED_OUT = "check its username, password or token"
TURNED_DOWN = (
    "it answers, and will not take what it is sent: mend what it says (its settings in "
    "alerts/routes.yaml, its template), then `catcher dead-letters --all` sends again what it "
    "turned down"
)


async def examine_site(site: Site, data: Path, url: str) -> list[Row]:
    """A row for each thing looked at: `what`, `state` (ok, warning, error), `found`, `hint`."""
    rows = [*_files(site, bool(url)), *_folder(data)]
    rows += [one async for one in examine_stores(site, data, url)]
    rows += await asyncio.to_thread(lambda: list(_engine(site, url)))
    return rows


def _files(site: Site, runs: bool) -> Iterator[Row]:
    yield row("site", "ok", f"{site.root}, {len(site.rules)} rules")
    for problem in site.problems:
        words = f"{problem.place}: {problem.message}"
        if problem in site.misconfigured:
            what = "the engine goes on as it was" if runs else _AT_A_START[problem.place.file]
            yield row("settings", "error", f"{words} ({what})", problem.hint)
        else:
            yield row("site", problem.severity, words, problem.hint)


def _folder(data: Path) -> Iterator[Row]:
    if not data.is_dir():
        yield row("data", "warning", f"{data} is not there yet", "`catcher run` makes it")
        return
    if not os.access(data, os.W_OK):
        yield row("data", "error", f"{data} cannot be written", "give this user the right to")
    free = shutil.disk_usage(data).free
    state, hint = ("ok", "") if free > LITTLE else ("error", "make room, or choose another --data")
    yield row("data", state, f"{data}, {free / 2**30:.1f} GiB free", hint)


def _engine(site: Site, url: str) -> Iterator[Row]:
    if not url:
        yield row("engine", "warning", "none runs on this folder", "`catcher run` starts one")
        return
    token = site.settings.api.token
    remote = Remote(url, token.reveal() if token else "")
    try:
        found = [*(_health(health) for health in remote.health()), *_vitals(remote)]
    except CatcherError as error:
        yield row("engine", "error", error.message, error.hint)
        return
    yield row("engine", "ok", f"answers at {url}")
    yield from found


def _vitals(remote: Remote) -> Iterator[Row]:
    """How the engine itself does: its phase, what it is not ready for, who blocked its loop."""
    vitals = remote.vitals()
    for problem in remote.unready():
        yield row("readiness", "error", problem, "what is away comes back by itself once mended")
    lag, block = vitals["loop_lag"], vitals["last_block"]
    words = f"{vitals['phase']}, late by {1e3 * (lag['p99'] or 0):.0f} ms at most (99 %)"
    yield row("event loop", "ok" if vitals["alive"] else "error", words, vitals["problem"])
    if block:
        when = f"{vitals['blocks']} times, last until {block['told']} for {block['seconds']:.1f} s"
        yield row("event loop", "warning", f"blocked {when}: {block['place']}", BLOCKED)


def _health(health: Mapping[str, Any]) -> Row:
    state = "ok" if health["state"] in ("ok", "ended", "starting") else "error"
    counts = ", ".join(f"{name} {count}" for name, count in health["counts"].items() if count)
    found = ": ".join(filter(None, (health["state"], health["problem"] or counts)))
    what = f"{health['kind']} {health['name']}"
    return row(what, state, found, _mend(health))


def _mend(health: Mapping[str, Any]) -> str:
    problem = str(health["problem"]).lower()
    if "authori" in problem:
        return LOCKED_OUT
    if problem.startswith(TURNED_DOWN_FOR_GOOD):
        return TURNED_DOWN
    return MENDS.get(health["state"], "")
