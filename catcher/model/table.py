"""The results of a query: rows in order, and whether they are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Generic, TypeVar, overload

from catcher.model import dataframes

T = TypeVar("T")
Row = Mapping[str, Any]
MAX_HTML_ROWS = 20


class Table(Sequence[T], Generic[T]):
    """The results of a query, in order; a sequence of domain objects or rows.

    `cut` means that there were more than the limit. `rows()` are plain mappings, the other
    methods convert to the types of other libraries. `times` names the columns that hold times.
    """

    def __init__(
        self,
        items: Sequence[T],
        to_row: Callable[[T], Row],
        *,
        cut: bool = False,
        times: frozenset[str] = frozenset(),
        names: Sequence[str] = (),
    ) -> None:
        self._items = tuple(items)
        self._to_row = to_row
        self._times = times
        self.names = tuple(names)
        self.cut = cut

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        suffix = ", and there are more" if self.cut else ""
        return f"<{len(self)} found{suffix}: {', '.join(map(repr, self._items[:3]))}>"

    def rows(self) -> list[dict[str, Any]]:
        """Returns plain mappings, as commands and the API show them."""
        return [dict(self._to_row(item)) for item in self._items]

    def to_arrow(self) -> Any:
        """Returns an Arrow table; nested values become `name.key`."""
        return dataframes.rows_to_arrow(self.rows(), self._times, self.names)

    def to_pandas(self) -> Any:
        """Returns a pandas DataFrame."""
        return dataframes.rows_to_pandas(self.rows(), self._times, self.names)

    def to_polars(self) -> Any:
        """Returns a polars DataFrame."""
        return dataframes.rows_to_polars(self.rows(), self._times, self.names)

    def to_xarray(self) -> Any:
        """Returns an xarray Dataset over the row number."""
        return dataframes.rows_to_xarray(self.rows(), self._times, self.names)

    def to_astropy(self) -> Any:
        """Returns an astropy QTable."""
        return dataframes.rows_to_astropy(self.rows(), self._times, self.names)

    def _repr_html_(self) -> str:
        """Shows the first rows in a notebook."""
        rows = [dict(self._to_row(item)) for item in self._items[:MAX_HTML_ROWS]]
        names = list(dict.fromkeys([*self.names, *(name for row in rows for name in row)]))
        lines = [_format_html_row("th", names)]
        lines += [_format_html_row("td", [row.get(name, "") for name in names]) for row in rows]
        suffix = ", and there are more" if self.cut else ""
        return f"<table>{''.join(lines)}</table><p>{len(self)} in all{suffix}</p>"


def _format_html_row(tag: str, values: Sequence[Any]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(str(value))}</{tag}>' for value in values)}</tr>"
