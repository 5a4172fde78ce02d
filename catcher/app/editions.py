"""What runs of a site's files when they are edited under an engine.

A rule whose text is broken runs on as it was; what takes effect only at a start is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from catcher.alerting import RouteTree
from catcher.alerting.rota import ON_SHIFT
from catcher.model.event import RESULT_PREFIX
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule, Trigger
from catcher.ports import Row
from catcher.site import Site
from catcher.working import Registry

ROUTES = "alerts/routes.yaml"
TEMPLATES = "alerts/templates"
SETTINGS = "catcher.yaml"
IN_STORES = ("ledger", "history", "metrics", "objects")
AS_THEY_ARE = ("observations", "links", "api", "data", "limits", "engine")


@dataclass(frozen=True, slots=True)
class Edition:
    """The rules, routes, jobs and templates that run, and the site as it was last read.

    `kept` are rules that run as they were, since their text is broken now. `waiting` are the
    parts that were edited and take effect when the engine is started again; `fixed` are these
    parts as they were when it was read.
    """

    site: Site
    rules: Mapping[str, Rule]
    routes: RouteTree
    registry: Registry
    templates: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    waiting: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def broken(self) -> list[str]:
        """Rules that do not run since they are broken, and are not gone either."""
        return [one.id for one in self.site.broken if one.id and one.id not in self.rules]

    def rows(self) -> list[Row]:
        """The broken rules with their problems; `kept`: what stood there before runs on."""
        return [
            {
                "rule": one.id,
                "place": str(one.place),
                "kept": one.id in self.kept,
                "problems": [problem.as_json() for problem in one.problems],
            }
            for one in self.site.broken
        ]


def first_edition(site: Site, folder: Path) -> Edition:
    """What an engine starts with; jobs run from copies in `folder`, whatever is edited."""
    rules = {rule.id: rule for rule in site.active}
    registry = site.registry.keep(folder)
    fixed = {**_settings(site), **_sinks(site)}
    return Edition(site, rules, site.routes, registry, read_templates(site), fixed=fixed)


def read_templates(site: Site) -> dict[str, str]:
    """The site's own templates, by the name of a sink or its kind."""
    return {name: path.read_text() for name, path in site.templates.items()}


def next_edition(first: Edition, running: Edition, site: Site, folder: Path) -> Edition:
    """What runs after an edit. CatcherError where it cannot run at all.

    `first` is what the engine was started with: its sources, stores and sinks stay.
    """
    kept = dict(_kept(running.rules, site))
    sinks = first.site.sinks.keys()
    good = {rule.id: _told_to(rule, {*sinks, ON_SHIFT}) for rule in site.active}
    rules = {**good, **kept}
    _refuse_circles(rules)
    wrong = {problem.place.file for problem in site.errors}
    waiting = [] if SETTINGS in wrong else _edited(first.fixed, _settings(site))
    routes = running.routes if ROUTES in wrong else site.routes
    if ROUTES not in wrong:
        waiting += _edited(first.fixed, _sinks(site))
    if not routes.sinks.keys() <= sinks:
        routes = running.routes
        waiting.append("routes")
    registry = _jobs(site.registry.keep(folder), running.registry, good, kept)
    templates = {
        name: running.templates.get(name, text) if f"{TEMPLATES}/{name}.j2" in wrong else text
        for name, text in read_templates(site).items()
    }
    return Edition(site, rules, routes, registry, templates, frozenset(kept), tuple(waiting))


def differences(before: Edition, after: Edition) -> dict[str, list[str]]:
    """What an edit came to, rule by rule."""
    old, new = before.rules, after.rules
    jobs = before.registry.addresses, after.registry.addresses
    found = {
        "added": [name for name in new if name not in old],
        "edited": [name for name in new if name in old and new[name] != old[name]],
        "gone": [name for name in old if name not in new],
        "kept": sorted(after.kept),
        "jobs": [name for name in jobs[1] if jobs[0].get(name) != jobs[1][name]],
        "routes": ["edited"] if before.routes != after.routes else [],
        "templates": _changed(before.templates, after.templates),
        "restart": list(after.waiting),
    }
    return {what: sorted(names) for what, names in found.items() if names}


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names under which something else stands now."""
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def _kept(running: Mapping[str, Rule], site: Site) -> Iterator[tuple[str, Rule]]:
    """Rules whose text is broken; also those of a file in which not every rule can be told."""
    broken = {one.id for one in site.broken}
    unclear = {one.place.file for one in site.broken if not one.id}
    unclear |= {one.place.file for one in site.errors if not one.rule}
    for name, rule in running.items():
        if name not in site.rules and (name in broken or rule.place.file in unclear):
            yield name, rule


def _told_to(rule: Rule, sinks: Iterable[str]) -> Rule:
    """A rule without those of its own sinks that are not there before the next start."""
    if rule.alert is None or set(rule.alert.to) <= set(sinks):
        return rule
    known = tuple(sink for sink in rule.alert.to if sink in sinks)
    return replace(rule, alert=replace(rule.alert, to=known))


def _jobs(
    new: Registry, old: Registry, good: Mapping[str, Rule], kept: Mapping[str, Rule]
) -> Registry:
    """The new jobs; a rule that runs as it was has its old one where the new one does not fit.

    A job that good rules need in its new form stays new.
    """
    for rule in kept.values():
        if rule.job is None or not new.check(rule):
            continue
        spec = rule.job
        names = {spec.run, *((spec.gather.run,) if spec.gather else ())} & old.signatures.keys()
        older = Registry(
            {**new.signatures, **{name: old.signatures[name] for name in names}},
            {**new.addresses, **{name: old.addresses[name] for name in names}},
        )
        if not any(older.check(one) for one in good.values()):
            new = older
    return new


def _refuse_circles(rules: Mapping[str, Rule]) -> None:
    """A rule that runs as it was may close a circle with new ones: it would never end."""
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = " → ".join((*trail[trail.index(name) :], name))
            raise CatcherError(
                f"with a rule that runs as it was, results would go round: {circle}",
                "mend the broken rule first",
            )
        if name in rules and name not in done:
            for origin in _origins(rules[name].trigger):
                visit(origin, (*trail, name))
            done.add(name)

    for name in rules:
        visit(name, ())


def _origins(trigger: Trigger) -> Iterator[str]:
    """The rules to whose results a trigger listens."""
    topics = [trigger.topic, *(step.topic for step in trigger.steps)]
    yield from (one.removeprefix(RESULT_PREFIX) for one in topics if one.startswith(RESULT_PREFIX))
    for one in trigger.any:
        yield from _origins(one)


# -- what takes effect at a start -------------------------------------------------------------


def _edited(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if before.get(name) != after[name]]


def _settings(site: Site) -> dict[str, Any]:
    said = site.settings
    stores = {name: getattr(said.stores, name) for name in IN_STORES}
    return {
        "sources": {
            name: (spec.adapter.kind, spec.adapter.values(), spec.clock)
            for name, spec in said.sources.items()
        },
        "stores": {name: (one.kind, one.values()) for name, one in stores.items()},
        "executor": (said.executor.kind, said.executor.values()),
        **{name: getattr(said, name) for name in AS_THEY_ARE},
        "heartbeat": said.heartbeat.values(),
        "announce": [(one.kind, one.values()) for one in said.announce],
        "spool": said.stores.spool,
    }


def _sinks(site: Site) -> dict[str, Any]:
    """The sinks with the code of custom ones, by what its files hold."""
    codes = {name: _print(path) for name, path in site.custom_sinks.items()}
    return {
        "sinks": {
            name: (one.kind, one.values(), codes.get(one.kind)) for name, one in site.sinks.items()
        },
    }


def _print(path: Path) -> bytes:
    try:
        return blake2b(path.read_bytes()).digest()
    except OSError:
        return b""
