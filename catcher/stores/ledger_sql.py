"""SELECT statements over the views of the ledger, and nothing else.

A statement is read as a tree, whose every node has to be of a kind that is known to do no harm;
names of views are replaced by the statements behind them, and what the database gets is written
from the tree, never from the text. It is asked on a connection of its own that cannot write,
for so long and for so many rows as is allowed. SQLite is told besides which tables may be read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import sqlglot
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from catcher.model.kept import Answer
from catcher.model.problem import CatcherError, Unknown
from catcher.model.time import (
    MILLISECOND,
    SECOND,
    Span,
    format_duration,
    parse_duration,
    parse_instant,
    wall_clock,
)
from catcher.stores import ledger_opening as opening
from catcher.stores.ledger_views import VIEWS

# What it has to say about a statement is said in the error.
logging.getLogger("sqlglot").addHandler(logging.NullHandler())

LONGEST_STATEMENT = 20_000
LONGEST_PATIENCE = 60 * SECOND
MOST_BYTES = 64 * 2**20
LARGEST_CELL = 16 * 2**20
AT_ONCE = 2
"""Statements that are asked at the same time; the next ones wait."""
SEE = "see docs/client.md for the views, or `catcher schema views`"
_KINDS = frozenset({
    "Abs", "Add", "Alias", "And", "Anonymous", "Avg", "Between", "Boolean", "Case", "Cast",
    "Ceil", "Coalesce", "Column", "Count", "CTE", "DPipe", "DataType", "Desc", "Distinct",
    "Div", "EQ", "Except", "Exists", "Exp", "Filter", "FirstValue", "Floor", "From", "GT",
    "GTE", "Group", "GroupConcat", "Having", "ILike", "Identifier", "If", "In", "Intersect",
    "Is", "JSONExtractScalar", "JSONPath", "JSONPathKey", "JSONPathRoot", "JSONPathSubscript",
    "Join", "LT", "LTE", "Lag", "LastValue", "Lead", "Least", "Greatest", "Length", "Like",
    "Limit", "Literal", "Ln", "Log", "Lower", "Max", "Min", "Mod", "Mul", "NEQ", "Neg", "Not",
    "Null", "Nullif", "Offset", "Or", "Order", "Ordered", "Paren", "PartitionedByProperty",
    "Pow", "Rank", "DenseRank", "NTile", "RowNumber", "Round", "Select", "Sqrt", "Star",
    "Sub", "Subquery", "Substring", "Sum", "Table", "TableAlias", "Trim", "Tuple", "Union",
    "Upper", "Values", "Var", "Where", "Window", "WindowSpec", "With",
})  # fmt: skip
_TYPES = {"INT", "BIGINT", "TEXT", "VARCHAR", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN"}
_ALLOWED_BY_SQLITE = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION}


class LedgerSql:
    """Answers statements over the ledger at an address, as `SqlLedger` takes it."""

    def __init__(self, url: str) -> None:
        self._url = opening.address(url)
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def ask(self, statement: str, limit: int, patience: Span) -> Answer:
        """The rows of a SELECT; CatcherError for anything else, and for what takes too long."""
        dialect = self._url.get_backend_name()
        written = await asyncio.to_thread(checked, statement, dialect)
        patience = max(MILLISECOND, min(patience, LONGEST_PATIENCE))
        async with self._gate:
            return await asyncio.to_thread(self._answer, written, limit, patience)

    def _answer(self, statement: str, limit: int, patience: Span) -> Answer:
        file = opening.file_of(self._url)
        if self._url.get_backend_name() == "sqlite" and (file is None or not file.is_file()):
            raise CatcherError("there is no ledger to ask yet", "`catcher run` makes one")
        engine = opening.connect(self._url, full=False, patience=5 * SECOND, reader=True)
        try:
            with engine.connect() as connection, connection.begin():
                _bound(connection, patience)
                return _fetched(connection, statement, limit)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._explained(error, patience) from None
        finally:
            engine.dispose()

    def _explained(self, error: SQLAlchemyError | sqlite3.Error, patience: Span) -> CatcherError:
        cause = str(getattr(error, "orig", None) or error)
        if "interrupted" in cause or "statement timeout" in cause:
            told = format_duration(patience)
            return CatcherError(
                f"the statement took longer than {told} and was ended",
                "narrow it by ns, which has an index, or allow more time",
            )
        first = cause.splitlines()[0] if cause else type(error).__name__
        if "no such column" in first or "does not exist" in first:
            return Unknown(f"the statement cannot be answered: {first}", SEE)
        known = opening.explained(error, "the ledger", self._url)
        return CatcherError(known.message, known.hint or SEE)


def checked(statement: str, dialect: str) -> str:
    """The statement for a database (`sqlite`, `postgresql`), with the views in their places.

    CatcherError for what is no single SELECT, or uses anything that is not known to be harmless.
    """
    if len(statement) > LONGEST_STATEMENT:
        raise CatcherError(f"the statement is longer than {LONGEST_STATEMENT} characters")
    if "\0" in statement:
        raise CatcherError("the statement has a character that no SQL has", SEE)
    try:
        return _written(_tree(statement), dialect)
    except RecursionError:
        raise CatcherError("the statement is nested too deep", "write it in fewer levels") from None


def _written(tree: exp.Expr, dialect: str) -> str:
    _refuse_unknown(tree)
    own = _own_names(tree)
    tree = tree.transform(_instants)
    for table in list(tree.find_all(exp.Table)):
        _replace(table, own, dialect)
    if dialect == "postgresql":
        tree = tree.transform(_rounded)
    return tree.sql(dialect="postgres" if dialect == "postgresql" else "sqlite", comments=False)


def _tree(statement: str) -> exp.Expr:
    try:
        trees = [one for one in sqlglot.parse(statement, read="postgres") if one is not None]
    except SqlglotError as error:
        words = str(error).splitlines()[0] if str(error) else "it cannot be read"
        raise CatcherError(f"this is no SQL: {words}", SEE) from None
    if len(trees) != 1:
        raise CatcherError("one statement at a time", "leave out the semicolon and what follows")
    if not isinstance(trees[0], exp.Select | exp.SetOperation | exp.Subquery):
        raise CatcherError("only SELECT is answered here: nothing can be written", SEE)
    return trees[0]


def _refuse_unknown(tree: exp.Expr) -> None:
    for node in tree.walk():
        kind = type(node).__name__
        if isinstance(node, exp.Anonymous) and str(node.this).lower() != "instant":
            raise CatcherError(f"the function {str(node.this)[:60]} is not known here", SEE)
        if kind not in _KINDS:
            raise CatcherError(f"{kind} is not answered here", SEE)
        if isinstance(node, exp.DataType) and node.this.name not in _TYPES:
            raise CatcherError(f"the type {node.this.name} is not known here", SEE)
        if isinstance(node, exp.With) and node.args.get("recursive"):
            raise CatcherError("WITH RECURSIVE is not answered here", SEE)
        if isinstance(node, exp.Select) and (node.args.get("into") or node.args.get("locks")):
            raise CatcherError("only SELECT is answered here: nothing can be written", SEE)


def _own_names(tree: exp.Expr) -> set[str]:
    """The names that the statement itself gives, WITH; none may hide a view."""
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for name in own & set(VIEWS):
        raise CatcherError(f"WITH {name} hides the view {name}", "choose another name")
    return own


def _replace(table: exp.Table, own: set[str], dialect: str) -> None:
    """Puts a view in the place of its name."""
    name = table.name.lower()
    qualified = table.args.get("db") or table.args.get("catalog")
    plain = isinstance(table.this, exp.Identifier)
    if plain and not qualified and name in own:
        return
    if not plain or qualified or name not in VIEWS:
        shown = table.sql()[:80]
        near = get_close_matches(name, VIEWS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VIEWS)}; {SEE}"
        raise Unknown(f"there is no view {shown}", hint)
    view = sqlglot.parse_one(
        VIEWS[name].select(dialect), read="postgres" if dialect == "postgresql" else "sqlite"
    )
    joins = table.args.get("joins")
    alias = exp.TableAlias(this=exp.to_identifier(table.alias or name))
    inner = exp.Subquery(this=view, alias=alias)
    if joins:
        inner.set("joins", joins)
    table.replace(inner)


def _instants(node: exp.Expr) -> exp.Expr:
    """`instant('-12h')` and `instant('2025-04-24')` are numbers of nanoseconds."""
    if not isinstance(node, exp.Anonymous):
        return node
    given = node.expressions
    if len(given) != 1 or not isinstance(given[0], exp.Literal) or not given[0].is_string:
        raise CatcherError("instant(…) takes one text", "write it like instant('-12h')")
    text = given[0].name.strip()
    try:
        if text.startswith("-"):
            return exp.Literal.number(wall_clock() - parse_duration(text[1:]))
        return exp.Literal.number(parse_instant(text))
    except ValueError as error:
        raise CatcherError(str(error), "write it like instant('-12h')") from None


def _rounded(node: exp.Expr) -> exp.Expr:
    """PostgreSQL rounds to decimals what is DECIMAL only."""
    if isinstance(node, exp.Round) and node.args.get("decimals") is not None:
        node.set("this", exp.cast(node.this.copy(), "decimal"))
    return node


def _bound(connection: Connection, patience: Span) -> None:
    """How long the statement may take, and on SQLite what it may touch."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {patience // MILLISECOND}")
        return
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        raise CatcherError("the ledger's database cannot be bounded")
    raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_CELL)
    deadline = time.monotonic_ns() + patience
    raw.set_progress_handler(lambda: int(time.monotonic_ns() > deadline), 10_000)
    raw.set_authorizer(_allowed)


def _allowed(
    action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
) -> int:
    if action == sqlite3.SQLITE_READ:
        known = first in VIEWS or not first
        return sqlite3.SQLITE_OK if known else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_TRANSACTION:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_OK if action in _ALLOWED_BY_SQLITE else sqlite3.SQLITE_DENY


def _fetched(connection: Connection, statement: str, limit: int) -> Answer:
    # As it stands: a percent sign in a text is no parameter.
    how = {"stream_results": True, "max_row_buffer": 500, "no_parameters": True}
    rows: list[list[Any]] = []
    size = 0
    with connection.exec_driver_sql(statement, execution_options=how) as result:
        names = _distinct(list(result.keys()))
        for row in result:
            if len(rows) == limit:
                return Answer(names, rows, cut=True)
            rows.append([_plain(cell) for cell in row])
            size += sum(len(cell) if isinstance(cell, str) else 8 for cell in rows[-1])
            if size > MOST_BYTES:
                raise CatcherError(
                    f"the rows have more than {MOST_BYTES // 2**20} MiB",
                    "ask for fewer columns or rows",
                )
    return Answer(names, rows)


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names of which none is there twice."""
    found: list[str] = []
    for name in names:
        new, count = name, 2
        while new in found:
            new, count = f"{name}_{count}", count + 1
        found.append(new)
    return found


def _plain(cell: Any) -> Any:
    if cell is None or isinstance(cell, str | bool | int | float):
        return cell
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, bytes | memoryview):
        return bytes(cell).hex()
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))
    return str(cell)
