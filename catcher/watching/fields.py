"""How a field is found in an event: by name, through dots and indices, or gathered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from catcher.watching.tree import Path
from catcher.watching.values import elements, scalar

Fields = Mapping[str, Any]
MOST_ELEMENTS = 100_000


def finder(path: Path) -> Callable[[Fields], Any]:
    """The raw value at a path; None where there is none."""
    first = str(path[0])
    if len(path) == 1:
        return lambda fields: fields.get(first)

    def find(fields: Fields) -> Any:
        place: Any = fields
        index = 0
        while index < len(path):
            step = path[index]
            found = _step(place, step)
            if found is None and index + 1 < len(path) and isinstance(path[index + 1], int):
                index += 1
                found = _step(place, f"{step}{path[index]}")
            place = found
            index += 1
        return place

    return find


def _step(place: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return place.get(step) if isinstance(place, Mapping) else None
    if isinstance(place, list | tuple) and -len(place) <= step < len(place):
        return place[step]
    return None


def scalar_finder(path: Path) -> Callable[[Fields], Any]:
    """The known scalar at a path; None for all else."""
    if len(path) == 1:
        name = str(path[0])
        return lambda fields: scalar(fields.get(name))
    find = finder(path)
    return lambda fields: scalar(find(fields))


def array_finder(path: Path) -> Callable[[Fields], Any]:
    """The array at a path as a list, flattened ones gathered by number; else the scalar."""
    find, box = finder(path), finder(path[:-1]) if len(path) > 1 else None
    last = path[-1]

    def gather(fields: Fields) -> Any:
        value = find(fields)
        if value is not None or not isinstance(last, str):
            parts = elements(value)
            return scalar(value) if parts is None else parts
        return _gathered(box(fields) if box else fields, last)

    return gather


def _gathered(place: Any, name: str) -> list[Any] | None:
    if not isinstance(place, Mapping) or f"{name}0" not in place:
        return None
    found: list[Any] = []
    while len(found) < MOST_ELEMENTS and (key := f"{name}{len(found)}") in place:
        found.append(scalar(place[key]))
    return found
