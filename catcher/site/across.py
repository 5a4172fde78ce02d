"""What can only be seen with all rules before one: names that point nowhere, and circles."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from catcher.model.event import RESULT_PREFIX, is_result
from catcher.model.problem import Place
from catcher.model.rule import DETECTOR
from catcher.site.knots import knots
from catcher.site.nodes import Branch, Items, Node, Report, Scalar, quoted
from catcher.site.words import MOST_SUGGESTIONS, closest, suggestion


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a rule uses for something outside: a rule, an observation kind, a sink."""

    kind: str
    name: str
    place: Place


def references(node: Node | None) -> Iterator[Reference]:
    """Every reference in the document of a rule."""
    yield from _trigger(_below(node, "trigger"))
    job = _below(node, "job")
    yield from (one for one in _named(job, "each", "observation") if one.name != DETECTOR)
    inputs = _below(job, "inputs")
    for entry in inputs.entries.values() if isinstance(inputs, Branch) else ():
        yield from _named(entry.node, "of", "metrics")
        yield from _named(entry.node, "during", "observation")
        yield from _named(entry.node, "image", "observation")
    to = _below(_below(node, "alert"), "to")
    for item in to.items if isinstance(to, Items) else (to,):
        if isinstance(item, Scalar) and item.value is not None:
            yield Reference("sink", item.text, item.place)


def _trigger(node: Node | None) -> Iterator[Reference]:
    yield from _named(node, "result", "result")
    for kind in ("event", "telemetry"):
        for found in _named(node, kind, "result"):
            if is_result(found.name):
                name = found.name.removeprefix(RESULT_PREFIX)
                yield Reference("result", name, found.place)
    members = _below(node, "any")
    for member in members.items if isinstance(members, Items) else ():
        if not isinstance(_below(member, "any"), Items):
            yield from _trigger(member)
    steps = _below(node, "sequence")
    for step in steps.items if isinstance(steps, Items) else ():
        yield from _trigger(step)
    absent = _below(node, "absent")
    for found in _named(absent, "topic", "result"):
        if is_result(found.name):
            yield Reference("result", found.name.removeprefix(RESULT_PREFIX), found.place)


def _below(node: Node | None, key: str) -> Node | None:
    return node.get(key) if isinstance(node, Branch) else None


def _named(node: Node | None, key: str, kind: str) -> Iterator[Reference]:
    found = _below(node, key)
    if isinstance(found, Scalar) and isinstance(found.value, str):
        yield Reference(kind, found.text, found.place)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the checks need to know of a rule: its id, its place, what it refers to."""

    id: str
    place: Place
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The names that there are; None where the file that holds them is broken."""

    observations: Collection[str] | None
    sinks: Collection[str] | None
    unreadable: bool = False


def check_across(claims: Sequence[Claim], known: Known, report: Report) -> None:
    """Reports duplicate ids, names that point nowhere, and circles of results."""
    places: dict[str, Place] = {}
    for claim in claims:
        first = places.setdefault(claim.id, claim.place)
        if first != claim.place:
            for here, other in ((claim.place, first), (first, claim.place)):
                message = f"there are two rules named {quoted(claim.id)}, the other at {other}"
                report.about(claim.id).error(here, message, "rename one of them")
    names: dict[str, Collection[str] | None] = {
        "result": None if known.unreadable else places,
        "metrics": None if known.unreadable else places,
        "observation": known.observations,
        "sink": known.sinks,
    }
    missing = 0
    for claim in claims:
        for reference in claim.references:
            there = names[reference.kind]
            if there is not None and reference.name not in there:
                missing += 1
                others = there if missing <= MOST_SUGGESTIONS else ()
                _missing(reference, others, report.about(claim.id))
    _check_circles(claims, report)


def _missing(reference: Reference, there: Collection[str], report: Report) -> None:
    what, hint = _KINDS[reference.kind]
    others = [name for name in there if name != report.rule]
    best = closest(reference.name, sorted(others))
    hint = f"did you mean {quoted(best)}?" if best else hint or suggestion(reference.name, others)
    message = f"there is no {what} {quoted(reference.name)}"
    report.error(reference.place, message, hint or "check the name")


_KINDS = {
    "result": ("rule", ""),
    "metrics": ("rule", ""),
    "observation": ("kind of observation", "declare it under observations: in catcher.yaml"),
    "sink": ("sink", "declare it under sinks: in alerts/routes.yaml"),
}


def check_sources_of_results(
    claims: Sequence[Claim], broken: Collection[str], report: Report
) -> None:
    """Warns of a rule that waits for the results of a broken one."""
    for claim in (one for one in claims if one.id not in broken):
        for name in sorted(set(_results(claim)) & set(broken)):
            place = next(ref.place for ref in claim.references if ref.name == name)
            message = f"the rule {quoted(name)} is broken, so its results do not come"
            report.about(claim.id).warning(place, message, "mend that rule")


def _check_circles(claims: Sequence[Claim], report: Report) -> None:
    edges = {claim.id: list(_results(claim)) for claim in claims}
    circle_of: dict[str, frozenset[str]] = {}
    for group in knots(edges):
        circle_of.update(dict.fromkeys(group, frozenset(group)))
    for claim in claims:
        if circle := circle_of.get(claim.id):
            ref = next(ref for ref in claim.references if ref.name in circle)
            path = f"one of {len(circle)} rules"
            if len(circle) <= MOST_SUGGESTIONS:
                path = " -> ".join(_circle(claim.id, edges, circle))
            message = f"the results go in a circle: {path}"
            report.about(claim.id).error(ref.place, message, "break it at one of these rules")


def _results(claim: Claim) -> Iterator[str]:
    return (ref.name for ref in claim.references if ref.kind == "result")


def _circle(
    start: str, edges: Mapping[str, Sequence[str]], within: Collection[str]
) -> tuple[str, ...]:
    """The shortest way from a rule back to itself."""
    paths: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[str] = set()
    while paths:
        path = paths.popleft()
        for target in edges[path[-1]]:
            if target == start:
                return (*path, start)
            if target in within and target not in seen:
                seen.add(target)
                paths.append((*path, target))
    return (start,)
