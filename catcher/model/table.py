"""What a question found: rows in an order, with a word on whether they are all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Generic, TypeVar, overload

from catcher.model import frames

T = TypeVar("T")
Row = Mapping[str, Any]
SHOWN = 20


class Table(Sequence[T], Generic[T]):
    """What was found, in its order; a sequence of nouns or rows.

    `cut` tells that there was more than was asked for. `rows()` are plain mappings, the others
    the same in the forms of other libraries. `times` names the columns that hold times.
    """

    def __init__(
        self,
        items: Sequence[T],
        as_row: Callable[[T], Row],
        *,
        cut: bool = False,
        times: frozenset[str] = frozenset(),
        names: Sequence[str] = (),
    ) -> None:
        self._items = tuple(items)
        self._as_row = as_row
        self._times = times
        self.names = tuple(names)
        self.cut = cut

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        return self._items[place]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        more = ", and there are more" if self.cut else ""
        return f"<{len(self)} found{more}: {', '.join(map(repr, self._items[:3]))}>"

    def rows(self) -> list[dict[str, Any]]:
        """Plain mappings, as commands and the API show them."""
        return [dict(self._as_row(one)) for one in self._items]

    def to_arrow(self) -> Any:
        """An Arrow table; what is nested becomes `name.key`."""
        return frames.rows_to_arrow(self.rows(), self._times, self.names)

    def to_pandas(self) -> Any:
        """A DataFrame of pandas."""
        return frames.rows_to_pandas(self.rows(), self._times, self.names)

    def to_polars(self) -> Any:
        """A DataFrame of polars."""
        return frames.rows_to_polars(self.rows(), self._times, self.names)

    def to_xarray(self) -> Any:
        """A Dataset of xarray over the number of the row."""
        return frames.rows_to_xarray(self.rows(), self._times, self.names)

    def to_astropy(self) -> Any:
        """A QTable of astropy."""
        return frames.rows_to_astropy(self.rows(), self._times, self.names)

    def _repr_html_(self) -> str:
        """A notebook shows the first rows."""
        shown = [dict(self._as_row(one)) for one in self._items[:SHOWN]]
        names = list(dict.fromkeys([*self.names, *(name for row in shown for name in row)]))
        lines = [_html_line("th", names)]
        lines += [_html_line("td", [row.get(name, "") for name in names]) for row in shown]
        rest = ", and there are more" if self.cut else ""
        return f"<table>{''.join(lines)}</table><p>{len(self)} in all{rest}</p>"


def _html_line(tag: str, cells: Sequence[Any]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
