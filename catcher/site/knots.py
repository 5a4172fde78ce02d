"""Circles in a graph of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def knots(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The groups of names that all lead to one another, by the algorithm of Kosaraju.

    A name by itself is a group only if it leads to itself. Takes time in proportion to the graph.
    """
    inside = {name: [one for one in targets if one in edges] for name, targets in edges.items()}
    backwards: dict[str, list[str]] = {name: [] for name in edges}
    for name, targets in inside.items():
        for target in targets:
            backwards[target].append(name)
    seen: set[str] = set()
    finished = [name for root in inside for name in _finishing(root, inside, seen)]
    taken: set[str] = set()
    for root in reversed(finished):
        group = list(_finishing(root, backwards, taken))
        if len(group) > 1 or (group and root in inside[root]):
            yield group


def _finishing(root: str, edges: Mapping[str, list[str]], seen: set[str]) -> Iterator[str]:
    """What can be reached from a name and was not seen before, the deepest first."""
    if root in seen:
        return
    seen.add(root)
    work = [(root, iter(edges[root]))]
    while work:
        name, targets = work[-1]
        target = next((one for one in targets if one not in seen), None)
        if target is None:
            work.pop()
            yield name
        else:
            seen.add(target)
            work.append((target, iter(edges[target])))
