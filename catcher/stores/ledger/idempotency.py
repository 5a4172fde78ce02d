"""Idempotent retries of commits: what an earlier attempt wrote is recognised.

A database may commit and die before it answers. Each commit therefore stores its token, with the
indexes of the items that it omitted as already known; a retry of the same commit finds it and
returns what the first attempt would have returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from catcher.model.commit import Commit
from catcher.model.time import Instant
from catcher.stores.ledger.mappers import RowValues, decode_json, encode_json, sanitize_text
from catcher.stores.ledger.schema import commits

OMITTABLE_FIELDS = ("inbox", "firings", "runs", "finished", "notices")
"""The attributes of a commit whose items may be omitted as already known."""
OmittedIndexes = dict[str, list[int]]
"""Indexes of items in a commit, by attribute."""


def find_previous_result(connection: Connection, commit: Commit, engine: str) -> Commit | None:
    """Returns the result of an earlier attempt; None if this is the first."""
    if not commit.token:
        return None
    statement = select(commits.c.token, commits.c.left_out).where(
        commits.c.engine == sanitize_text(engine)
    )
    row = connection.execute(statement).first()
    if row is None or row[0] != commit.token:
        return None
    return remove_omitted_items(commit, decode_json(row[1]))


def remove_omitted_items(commit: Commit, omitted: OmittedIndexes) -> Commit:
    """Returns a commit without the omitted items."""
    changes: dict[str, Any] = {
        name: tuple(
            item for index, item in enumerate(getattr(commit, name)) if index not in set(indexes)
        )
        for name, indexes in omitted.items()
        if indexes
    }
    return replace(commit, **changes) if changes else commit


def find_omitted_indexes(commit: Commit, committed: Commit) -> OmittedIndexes:
    """Returns the indexes of the items of `commit` that `committed` omits."""
    omitted: OmittedIndexes = {}
    for name in OMITTABLE_FIELDS:
        new_ids = {id(item) for item in getattr(committed, name)}
        indexes = [
            index for index, item in enumerate(getattr(commit, name)) if id(item) not in new_ids
        ]
        if indexes:
            omitted[name] = indexes
    return omitted


def record_commit_token(
    connection: Connection,
    commit: Commit,
    committed: Commit,
    engine: str,
    now: Instant,
    upsert: Callable[[Connection, Any, list[RowValues]], None],
) -> None:
    """Stores the token of a commit, in the commit's transaction."""
    if commit.token:
        row = {
            "engine": sanitize_text(engine),
            "token": commit.token,
            "left_out": encode_json(find_omitted_indexes(commit, committed)),
            "written": now,
        }
        upsert(connection, commits, [row])
