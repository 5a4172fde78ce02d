"""Settings of the ledger.

stores:
  ledger: sqlite
  # ledger: {sqlite: {synchronous: full}}
  # ledger: postgresql://catcher:${PGPASSWORD}@db.example/catcher
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """The keys under `ledger: {sqlite: ...}`. `url` names another file: `sqlite:////var/x.db`.

    With `synchronous: normal` a commit outlives this program, however it ends; with `full` also
    a power cut, for which each commit waits for the disk.
    """

    url: str = ""
    synchronous: Literal["normal", "full"] = "normal"


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """The keys under `ledger: {postgresql: ...}`, or a bare `postgresql://USER@HOST/DATABASE`."""

    url: str = field(repr=False)
