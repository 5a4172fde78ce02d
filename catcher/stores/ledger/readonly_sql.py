"""SELECT statements over the views of the ledger, and nothing else.

A statement is parsed to a tree whose every node must be of an allowed kind; names of views are
replaced by the statements behind them, and the SQL sent to the database is generated from the tree,
never from the text. It runs on its own read-only connection, with a limited time and number of
rows. SQLite additionally restricts which tables may be read.
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

from catcher.model.errors import CatcherError, NotFound
from catcher.model.queries import SqlResult
from catcher.model.time import (
    MILLISECOND,
    SECOND,
    Span,
    format_duration,
    parse_duration,
    parse_instant,
    wall_clock,
)
from catcher.stores.ledger import connect as opening
from catcher.stores.ledger.sql_views import VIEWS

# The error contains everything it would log about a statement.
logging.getLogger("sqlglot").addHandler(logging.NullHandler())

MAX_STATEMENT_LENGTH = 20_000
MAX_TIMEOUT = 60 * SECOND
MAX_RESULT_BYTES = 64 * 2**20
MAX_CELL_BYTES = 16 * 2**20
MAX_CONCURRENT = 2
"""Statements that run at the same time; further ones wait."""
HELP_HINT = "see docs/client.md for the views, or `catcher schema views`"
_ALLOWED_NODES = frozenset({
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
_ALLOWED_TYPES = {"INT", "BIGINT", "TEXT", "VARCHAR", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN"}
_ALLOWED_ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION}


class LedgerSql:
    """Runs statements over the ledger at a URL, as `SqlLedger` takes it."""

    def __init__(self, url: str) -> None:
        self._url = opening.parse_ledger_url(url)
        self._semaphore = asyncio.Semaphore(MAX_CONCURRENT)

    async def query(self, statement: str, limit: int, timeout: Span) -> SqlResult:
        """Returns the rows of a SELECT. Raises CatcherError for anything else and on a timeout."""
        dialect = self._url.get_backend_name()
        sql = await asyncio.to_thread(validate_statement, statement, dialect)
        timeout = max(MILLISECOND, min(timeout, MAX_TIMEOUT))
        async with self._semaphore:
            return await asyncio.to_thread(self._execute_statement, sql, limit, timeout)

    def _execute_statement(self, statement: str, limit: int, timeout: Span) -> SqlResult:
        file = opening.get_sqlite_path(self._url)
        if self._url.get_backend_name() == "sqlite" and (file is None or not file.is_file()):
            raise CatcherError("there is no ledger to ask yet", "`catcher run` makes one")
        engine = opening.create_database_engine(
            self._url, full_sync=False, lock_timeout=5 * SECOND, read_only=True
        )
        try:
            with engine.connect() as connection, connection.begin():
                _apply_statement_limits(connection, timeout)
                return _fetch_result(connection, statement, limit)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._translate_error(error, timeout) from None
        finally:
            engine.dispose()

    def _translate_error(
        self, error: SQLAlchemyError | sqlite3.Error, timeout: Span
    ) -> CatcherError:
        cause = str(getattr(error, "orig", None) or error)
        if "interrupted" in cause or "statement timeout" in cause:
            timeout_text = format_duration(timeout)
            return CatcherError(
                f"the statement took longer than {timeout_text} and was ended",
                "narrow it by ns, which has an index, or allow more time",
            )
        first_line = cause.splitlines()[0] if cause else type(error).__name__
        if "no such column" in first_line or "does not exist" in first_line:
            return NotFound(f"the statement cannot be answered: {first_line}", HELP_HINT)
        translated = opening.translate_error(error, "the ledger", self._url)
        return CatcherError(translated.message, translated.hint or HELP_HINT)


def validate_statement(statement: str, dialect: str) -> str:
    """Returns the statement for a database (`sqlite`, `postgresql`), with the views inserted.

    Raises CatcherError if it is not a single SELECT, or uses anything that is not allowed.
    """
    if len(statement) > MAX_STATEMENT_LENGTH:
        raise CatcherError(f"the statement is longer than {MAX_STATEMENT_LENGTH} characters")
    if "\0" in statement:
        raise CatcherError("the statement has a character that no SQL has", HELP_HINT)
    try:
        return _rewrite_statement(_parse_statement(statement), dialect)
    except RecursionError:
        raise CatcherError("the statement is nested too deep", "write it in fewer levels") from None


def _rewrite_statement(tree: exp.Expr, dialect: str) -> str:
    _reject_disallowed_nodes(tree)
    cte_names = _list_cte_names(tree)
    tree = tree.transform(_replace_instant_call)
    for table in list(tree.find_all(exp.Table)):
        _inline_view(table, cte_names, dialect)
    if dialect == "postgresql":
        tree = tree.transform(_cast_rounded)
    return tree.sql(dialect="postgres" if dialect == "postgresql" else "sqlite", comments=False)


def _parse_statement(statement: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(statement, read="postgres") if tree is not None]
    except SqlglotError as error:
        message = str(error).splitlines()[0] if str(error) else "it cannot be read"
        raise CatcherError(f"this is no SQL: {message}", HELP_HINT) from None
    if len(trees) != 1:
        raise CatcherError("one statement at a time", "leave out the semicolon and what follows")
    if not isinstance(trees[0], exp.Select | exp.SetOperation | exp.Subquery):
        raise CatcherError("only SELECT is answered here: nothing can be written", HELP_HINT)
    return trees[0]


def _reject_disallowed_nodes(tree: exp.Expr) -> None:
    for node in tree.walk():
        kind = type(node).__name__
        if isinstance(node, exp.Anonymous) and str(node.this).lower() != "instant":
            raise CatcherError(f"the function {str(node.this)[:60]} is not known here", HELP_HINT)
        if kind not in _ALLOWED_NODES:
            raise CatcherError(f"{kind} is not answered here", HELP_HINT)
        if isinstance(node, exp.DataType) and node.this.name not in _ALLOWED_TYPES:
            raise CatcherError(f"the type {node.this.name} is not known here", HELP_HINT)
        if isinstance(node, exp.With) and node.args.get("recursive"):
            raise CatcherError("WITH RECURSIVE is not answered here", HELP_HINT)
        if isinstance(node, exp.Select) and (node.args.get("into") or node.args.get("locks")):
            raise CatcherError("only SELECT is answered here: nothing can be written", HELP_HINT)


def _list_cte_names(tree: exp.Expr) -> set[str]:
    """Returns the names defined by WITH. Raises CatcherError if one hides a view."""
    cte_names = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for name in cte_names & set(VIEWS):
        raise CatcherError(f"WITH {name} hides the view {name}", "choose another name")
    return cte_names


def _inline_view(table: exp.Table, cte_names: set[str], dialect: str) -> None:
    """Replaces the name of a view by its statement."""
    name = table.name.lower()
    qualified = table.args.get("db") or table.args.get("catalog")
    is_plain = isinstance(table.this, exp.Identifier)
    if is_plain and not qualified and name in cte_names:
        return
    if not is_plain or qualified or name not in VIEWS:
        view_text = table.sql()[:80]
        suggestions = get_close_matches(name, VIEWS, 1)
        hint = (
            f"did you mean {suggestions[0]}?"
            if suggestions
            else f"there are {', '.join(VIEWS)}; {HELP_HINT}"
        )
        raise NotFound(f"there is no view {view_text}", hint)
    view = sqlglot.parse_one(
        VIEWS[name].build_select(dialect), read="postgres" if dialect == "postgresql" else "sqlite"
    )
    joins = table.args.get("joins")
    alias = exp.TableAlias(this=exp.to_identifier(table.alias or name))
    inner = exp.Subquery(this=view, alias=alias)
    if joins:
        inner.set("joins", joins)
    table.replace(inner)


def _replace_instant_call(node: exp.Expr) -> exp.Expr:
    """Replaces `instant('-12h')` and `instant('2025-04-24')` by numbers of nanoseconds."""
    if not isinstance(node, exp.Anonymous):
        return node
    arguments = node.expressions
    if (
        len(arguments) != 1
        or not isinstance(arguments[0], exp.Literal)
        or not arguments[0].is_string
    ):
        raise CatcherError("instant(…) takes one text", "write it like instant('-12h')")
    text = arguments[0].name.strip()
    try:
        if text.startswith("-"):
            return exp.Literal.number(wall_clock() - parse_duration(text[1:]))
        return exp.Literal.number(parse_instant(text))
    except ValueError as error:
        raise CatcherError(str(error), "write it like instant('-12h')") from None


def _cast_rounded(node: exp.Expr) -> exp.Expr:
    """Casts to DECIMAL, the only type that PostgreSQL rounds to a number of decimals."""
    if isinstance(node, exp.Round) and node.args.get("decimals") is not None:
        node.set("this", exp.cast(node.this.copy(), "decimal"))
    return node


def _apply_statement_limits(connection: Connection, timeout: Span) -> None:
    """Limits the time of the statement and, on SQLite, what it may access."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout // MILLISECOND}")
        return
    sqlite_connection = connection.connection.driver_connection
    if not isinstance(sqlite_connection, sqlite3.Connection):
        raise CatcherError("the ledger's database cannot be bounded")
    sqlite_connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
    deadline = time.monotonic_ns() + timeout
    sqlite_connection.set_progress_handler(lambda: int(time.monotonic_ns() > deadline), 10_000)
    sqlite_connection.set_authorizer(_authorize_action)


def _authorize_action(
    action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
) -> int:
    if action == sqlite3.SQLITE_READ:
        is_known = first in VIEWS or not first
        return sqlite3.SQLITE_OK if is_known else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_TRANSACTION:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_OK if action in _ALLOWED_ACTIONS else sqlite3.SQLITE_DENY


def _fetch_result(connection: Connection, statement: str, limit: int) -> SqlResult:
    # Verbatim: a percent sign in a text is no parameter.
    options = {"stream_results": True, "max_row_buffer": 500, "no_parameters": True}
    rows: list[list[Any]] = []
    size = 0
    with connection.exec_driver_sql(statement, execution_options=options) as result:
        names = _make_names_unique(list(result.keys()))
        for row in result:
            if len(rows) == limit:
                return SqlResult(names, rows, cut=True)
            rows.append([_to_json_value(cell) for cell in row])
            size += sum(len(cell) if isinstance(cell, str) else 8 for cell in rows[-1])
            if size > MAX_RESULT_BYTES:
                raise CatcherError(
                    f"the rows have more than {MAX_RESULT_BYTES // 2**20} MiB",
                    "ask for fewer columns or rows",
                )
    return SqlResult(names, rows)


def _make_names_unique(names: Sequence[str]) -> list[str]:
    """Returns the column names, numbering duplicates."""
    unique: list[str] = []
    for name in names:
        candidate, count = name, 2
        while candidate in unique:
            candidate, count = f"{name}_{count}", count + 1
        unique.append(candidate)
    return unique


def _to_json_value(cell: Any) -> Any:
    if cell is None or isinstance(cell, str | bool | int | float):
        return cell
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, bytes | memoryview):
        return bytes(cell).hex()
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))
    return str(cell)
