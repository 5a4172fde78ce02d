"""What the ledger knows of a night: its observations, and what became of the runs about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, select

from catcher.model.observation import Observation
from catcher.ports import Query
from catcher.stores import schema
from catcher.stores.documents import clean
from catcher.stores.ledger_rows import observation_of

MOST_NAMES = 500


def observations(connection: Connection, query: Query) -> list[Observation]:
    """Observations by kind (`name`) and when they began, the latest first."""
    table = schema.observations
    chosen = select(table).order_by(table.c.start.desc(), table.c.id.desc())
    if query.name:
        chosen = chosen.where(table.c.kind == clean(query.name))
    if query.start is not None:
        chosen = chosen.where(table.c.start >= query.start)
    if query.end is not None:
        chosen = chosen.where(table.c.start <= query.end)
    rows = connection.execute(chosen.limit(max(query.limit, 0)))
    return [observation_of(row._asdict()) for row in rows]


def outcomes(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """By observation and rule: the state of the latest run about it, parts left out."""
    runs = schema.runs
    known = {clean(name): name for name in names}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    wanted = sorted(known)
    for start in range(0, len(wanted), MOST_NAMES):
        about = runs.c.observation.in_(wanted[start : start + MOST_NAMES])
        chosen = (
            select(runs.c.observation, runs.c.rule, runs.c.state)
            .where(about, runs.c.parent == "")
            .order_by(runs.c.time, runs.c.created)
        )
        for observation, rule, state in connection.execute(chosen):
            found[known[observation]][rule] = state
    return dict(found)
