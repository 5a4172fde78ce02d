"""Commits that are tried again: what an earlier try wrote is recognised.

A database may commit and die before it answers. Each commit therefore leaves its token, with
what it left out as known; the same commit tried again finds it and answers as the first would
have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from catcher.model.commit import Commit
from catcher.model.time import Instant
from catcher.stores.documents import clean, document, read_document
from catcher.stores.ledger_rows import Cells
from catcher.stores.schema import commits

PARTS = ("inbox", "firings", "runs", "finished", "notices")
"""What a commit may leave out as known, by the names of its attributes."""
LeftOut = dict[str, list[int]]
"""Places in a commit, by its attributes."""


def earlier(connection: Connection, commit: Commit, engine: str) -> Commit | None:
    """What a try before this one answered; None where this is the first."""
    if not commit.token:
        return None
    wanted = select(commits.c.token, commits.c.left_out).where(commits.c.engine == clean(engine))
    row = connection.execute(wanted).first()
    if row is None or row[0] != commit.token:
        return None
    return less(commit, read_document(row[1]))


def less(commit: Commit, left_out: LeftOut) -> Commit:
    """A commit without what it left out."""
    changes: dict[str, Any] = {
        name: tuple(
            one for place, one in enumerate(getattr(commit, name)) if place not in set(places)
        )
        for name, places in left_out.items()
        if places
    }
    return replace(commit, **changes) if changes else commit


def places_of_known(commit: Commit, written: Commit) -> LeftOut:
    """Where what was left out stands in a commit."""
    found: LeftOut = {}
    for name in PARTS:
        new = {id(one) for one in getattr(written, name)}
        places = [place for place, one in enumerate(getattr(commit, name)) if id(one) not in new]
        if places:
            found[name] = places
    return found


def remember(
    connection: Connection,
    commit: Commit,
    written: Commit,
    engine: str,
    now: Instant,
    upsert: Callable[[Connection, Any, list[Cells]], None],
) -> None:
    """Leaves the token of a commit, in its own transaction."""
    if commit.token:
        row = {
            "engine": clean(engine),
            "token": commit.token,
            "left_out": document(places_of_known(commit, written)),
            "written": now,
        }
        upsert(connection, commits, [row])
