"""Checks that need all rules at once: undefined names, and cycles."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from catcher.model.errors import SourceLocation
from catcher.model.event import RESULT_PREFIX, is_result_topic
from catcher.model.rule import DETECTOR
from catcher.site.suggestions import MAX_SUGGESTIONS, find_closest_name, format_suggestion
from catcher.site.yaml_tree import (
    ProblemCollector,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    quote_text,
)

# -- cycles in a graph of names -------------------------------------------------------------------


def iter_cyclic_groups(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yields the groups of names that all lead to one another, by the algorithm of Kosaraju.
    A name by itself is a group only if it leads to itself. Takes time in proportion to the graph.
    """
    internal_edges = {
        name: [successor for successor in targets if successor in edges]
        for name, targets in edges.items()
    }
    reversed_edges: dict[str, list[str]] = {name: [] for name in edges}
    for name, targets in internal_edges.items():
        for target in targets:
            reversed_edges[target].append(name)
    visited: set[str] = set()
    postorder = [
        name for root in internal_edges for name in _walk_postorder(root, internal_edges, visited)
    ]
    assigned: set[str] = set()
    for root in reversed(postorder):
        component = list(_walk_postorder(root, reversed_edges, assigned))
        if len(component) > 1 or (component and root in internal_edges[root]):
            yield component


def _walk_postorder(root: str, edges: Mapping[str, list[str]], visited: set[str]) -> Iterator[str]:
    """Yields the unvisited names that can be reached from a name, the deepest first."""
    if root in visited:
        return
    visited.add(root)
    stack = [(root, iter(edges[root]))]
    while stack:
        name, targets = stack[-1]
        target = next((successor for successor in targets if successor not in visited), None)
        if target is None:
            stack.pop()
            yield name
        else:
            visited.add(target)
            stack.append((target, iter(edges[target])))


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a rule uses for something outside: a rule, an observation kind, a sink."""

    kind: str
    name: str
    location: SourceLocation


def iter_references(node: YamlNode | None) -> Iterator[Reference]:
    """Yields every reference in the document of a rule."""
    yield from _iter_trigger_references(_get_child(node, "trigger"))
    job = _get_child(node, "job")
    yield from (
        candidate
        for candidate in _iter_key_reference(job, "each", "observation")
        if candidate.name != DETECTOR
    )
    inputs = _get_child(job, "inputs")
    for entry in inputs.entries.values() if isinstance(inputs, YamlMapping) else ():
        yield from _iter_key_reference(entry.node, "of", "metrics")
        yield from _iter_key_reference(entry.node, "during", "observation")
        yield from _iter_key_reference(entry.node, "image", "observation")
    sinks_node = _get_child(_get_child(node, "alert"), "to")
    for item in sinks_node.items if isinstance(sinks_node, YamlSequence) else (sinks_node,):
        if isinstance(item, YamlScalar) and item.value is not None:
            yield Reference("sink", item.text, item.location)


def _iter_trigger_references(node: YamlNode | None) -> Iterator[Reference]:
    yield from _iter_key_reference(node, "result", "result")
    for kind in ("event", "telemetry"):
        for reference in _iter_key_reference(node, kind, "result"):
            if is_result_topic(reference.name):
                name = reference.name.removeprefix(RESULT_PREFIX)
                yield Reference("result", name, reference.location)
    members = _get_child(node, "any")
    for member in members.items if isinstance(members, YamlSequence) else ():
        if not isinstance(_get_child(member, "any"), YamlSequence):
            yield from _iter_trigger_references(member)
    steps = _get_child(node, "sequence")
    for step in steps.items if isinstance(steps, YamlSequence) else ():
        yield from _iter_trigger_references(step)
    absent = _get_child(node, "absent")
    for reference in _iter_key_reference(absent, "topic", "result"):
        if is_result_topic(reference.name):
            yield Reference(
                "result", reference.name.removeprefix(RESULT_PREFIX), reference.location
            )


def _get_child(node: YamlNode | None, key: str) -> YamlNode | None:
    return node.get(key) if isinstance(node, YamlMapping) else None


def _iter_key_reference(node: YamlNode | None, key: str, kind: str) -> Iterator[Reference]:
    child = _get_child(node, key)
    if isinstance(child, YamlScalar) and isinstance(child.value, str):
        yield Reference(kind, child.text, child.location)


@dataclass(frozen=True, slots=True)
class RuleReferences:
    """What the checks need to know of a rule: its id, its location, what it refers to."""

    id: str
    location: SourceLocation
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The names that exist; None if the file that declares them is broken."""

    observations: Collection[str] | None
    sinks: Collection[str] | None
    unreadable: bool = False


def check_ids_and_references(
    rules: Sequence[RuleReferences], known_names: KnownNames, collector: ProblemCollector
) -> None:
    """Reports duplicate ids, undefined names, and cycles of results."""
    locations: dict[str, SourceLocation] = {}
    for rule in rules:
        first_location = locations.setdefault(rule.id, rule.location)
        if first_location != rule.location:
            for location, other_location in (
                (rule.location, first_location),
                (first_location, rule.location),
            ):
                message = (
                    f"there are two rules named {quote_text(rule.id)}, "
                    f"the other at {other_location}"
                )
                collector.for_rule(rule.id).add_error(location, message, "rename one of them")
    names: dict[str, Collection[str] | None] = {
        "result": None if known_names.unreadable else locations,
        "metrics": None if known_names.unreadable else locations,
        "observation": known_names.observations,
        "sink": known_names.sinks,
    }
    missing_count = 0
    for rule in rules:
        for reference in rule.references:
            existing = names[reference.kind]
            if existing is not None and reference.name not in existing:
                missing_count += 1
                candidates = existing if missing_count <= MAX_SUGGESTIONS else ()
                _report_undefined_name(reference, candidates, collector.for_rule(rule.id))
    _check_cycles(rules, collector)


def _report_undefined_name(
    reference: Reference, existing: Collection[str], collector: ProblemCollector
) -> None:
    noun, hint = _REFERENCE_KINDS[reference.kind]
    other_names = [name for name in existing if name != collector.rule]
    match = find_closest_name(reference.name, sorted(other_names))
    hint = (
        f"did you mean {quote_text(match)}?"
        if match
        else hint or format_suggestion(reference.name, other_names)
    )
    message = f"there is no {noun} {quote_text(reference.name)}"
    collector.add_error(reference.location, message, hint or "check the name")


_REFERENCE_KINDS = {
    "result": ("rule", ""),
    "metrics": ("rule", ""),
    "observation": ("kind of observation", "declare it under observations: in catcher.yaml"),
    "sink": ("sink", "declare it under sinks: in alerts/routes.yaml"),
}


def check_broken_dependencies(
    rules: Sequence[RuleReferences], broken_ids: Collection[str], collector: ProblemCollector
) -> None:
    """Warns of a rule that depends on the results of a broken one."""
    for rule in (candidate for candidate in rules if candidate.id not in broken_ids):
        for name in sorted(set(_iter_upstream_rules(rule)) & set(broken_ids)):
            location = next(
                reference.location for reference in rule.references if reference.name == name
            )
            message = f"the rule {quote_text(name)} is broken, so its results do not come"
            collector.for_rule(rule.id).add_warning(location, message, "mend that rule")


def _check_cycles(rules: Sequence[RuleReferences], collector: ProblemCollector) -> None:
    edges = {rule.id: list(_iter_upstream_rules(rule)) for rule in rules}
    cycle_by_rule: dict[str, frozenset[str]] = {}
    for component in iter_cyclic_groups(edges):
        cycle_by_rule.update(dict.fromkeys(component, frozenset(component)))
    for rule in rules:
        if cycle := cycle_by_rule.get(rule.id):
            reference = next(reference for reference in rule.references if reference.name in cycle)
            path = f"one of {len(cycle)} rules"
            if len(cycle) <= MAX_SUGGESTIONS:
                path = " -> ".join(_find_shortest_cycle(rule.id, edges, cycle))
            message = f"the results go in a circle: {path}"
            collector.for_rule(rule.id).add_error(
                reference.location, message, "break it at one of these rules"
            )


def _iter_upstream_rules(rule: RuleReferences) -> Iterator[str]:
    return (reference.name for reference in rule.references if reference.kind == "result")


def _find_shortest_cycle(
    start: str, edges: Mapping[str, Sequence[str]], cycle: Collection[str]
) -> tuple[str, ...]:
    """Returns the shortest path from a rule back to itself."""
    paths: deque[tuple[str, ...]] = deque([(start,)])
    visited: set[str] = set()
    while paths:
        path = paths.popleft()
        for target in edges[path[-1]]:
            if target == start:
                return (*path, start)
            if target in cycle and target not in visited:
                visited.add(target)
                paths.append((*path, target))
    return (start,)
