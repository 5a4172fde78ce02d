"""Which version of a site's files runs when they are edited under an engine.
A rule whose text is broken runs on as it was; what takes effect only at a start is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from catcher.alerting import RouteTree
from catcher.alerting.on_call import ON_SHIFT
from catcher.jobs import Registry
from catcher.model.errors import CatcherError
from catcher.model.event import RESULT_PREFIX
from catcher.model.rule import Rule, TriggerSpec
from catcher.ports import Row
from catcher.site import Site

ROUTES_FILE = "alerts/routes.yaml"
TEMPLATES_FOLDER = "alerts/templates"
SETTINGS_FILE = "catcher.yaml"
STORE_SETTINGS = ("ledger", "history", "metrics", "objects")
PLAIN_SETTINGS = ("observations", "links", "api", "data", "limits", "engine")


@dataclass(frozen=True, slots=True)
class SiteVersion:
    """The rules, routes, jobs and templates that run, and the site as it was last read.
    `kept_rules` are rules that run as they were, since their text is broken now. `pending_restart`
    are the parts that were edited and take effect when the engine is started again;
    `fixed_settings` are these parts as they were when the site was read.
    """

    site: Site
    rules: Mapping[str, Rule]
    routes: RouteTree
    registry: Registry
    templates: Mapping[str, str] = field(default_factory=dict)
    kept_rules: frozenset[str] = frozenset()
    pending_restart: tuple[str, ...] = ()
    fixed_settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def broken_rule_ids(self) -> list[str]:
        """Ids of rules that do not run since they are broken (deleted ones are not among them)."""
        return [rule.id for rule in self.site.broken_rules if rule.id and rule.id not in self.rules]

    def list_broken_rules(self) -> list[Row]:
        """Returns the broken rules with their problems; with `kept` the earlier version runs on."""
        return [
            {
                "rule": rule.id,
                "place": str(rule.location),
                "kept": rule.id in self.kept_rules,
                "problems": [problem.to_json() for problem in rule.problems],
            }
            for rule in self.site.broken_rules
        ]


def build_first_version(site: Site, folder: Path) -> SiteVersion:
    """Builds the version an engine starts with; jobs run from copies in `folder`."""
    rules = {rule.id: rule for rule in site.active_rules}
    registry = site.registry.copy_jobs(folder)
    fixed_settings = {**_collect_restart_settings(site), **_collect_sink_settings(site)}
    return SiteVersion(
        site, rules, site.routes, registry, read_templates(site), fixed_settings=fixed_settings
    )


def read_templates(site: Site) -> dict[str, str]:
    """Reads the site's own templates, by the name of a sink or its kind."""
    return {name: path.read_text() for name, path in site.templates.items()}


def build_next_version(
    first: SiteVersion, current: SiteVersion, site: Site, folder: Path
) -> SiteVersion:
    """Builds the version that runs after an edit. Raises CatcherError if it cannot run at all.
    `first` is what the engine was started with: its sources, stores and sinks stay.
    """
    kept_rules = dict(_iter_kept_rules(current.rules, site))
    sinks = first.site.sinks.keys()
    valid_rules = {
        rule.id: _drop_unknown_sinks(rule, {*sinks, ON_SHIFT}) for rule in site.active_rules
    }
    rules = {**valid_rules, **kept_rules}
    _check_cycles(rules)
    broken_files = {problem.location.file for problem in site.errors}
    pending_restart = (
        []
        if SETTINGS_FILE in broken_files
        else _list_edited_settings(first.fixed_settings, _collect_restart_settings(site))
    )
    routes = current.routes if ROUTES_FILE in broken_files else site.routes
    if ROUTES_FILE not in broken_files:
        pending_restart += _list_edited_settings(first.fixed_settings, _collect_sink_settings(site))
    if not routes.sinks.keys() <= sinks:
        routes = current.routes
        pending_restart.append("routes")
    registry = _merge_registries(
        site.registry.copy_jobs(folder), current.registry, valid_rules, kept_rules
    )
    templates = {
        name: current.templates.get(name, text)
        if f"{TEMPLATES_FOLDER}/{name}.j2" in broken_files
        else text
        for name, text in read_templates(site).items()
    }
    return SiteVersion(
        site, rules, routes, registry, templates, frozenset(kept_rules), tuple(pending_restart)
    )


def diff_versions(previous: SiteVersion, current: SiteVersion) -> dict[str, list[str]]:
    """Returns the changes between two versions, by kind."""
    old_rules, new_rules = previous.rules, current.rules
    jobs = previous.registry.addresses, current.registry.addresses
    changes = {
        "added": [name for name in new_rules if name not in old_rules],
        "edited": [
            name for name in new_rules if name in old_rules and new_rules[name] != old_rules[name]
        ],
        "gone": [name for name in old_rules if name not in new_rules],
        "kept": sorted(current.kept_rules),
        "jobs": [name for name in jobs[1] if jobs[0].get(name) != jobs[1][name]],
        "routes": ["edited"] if previous.routes != current.routes else [],
        "templates": _list_changed_names(previous.templates, current.templates),
        "restart": list(current.pending_restart),
    }
    return {kind: sorted(names) for kind, names in changes.items() if names}


def _list_changed_names(previous: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Returns the names whose text differs."""
    return [name for name in {**previous, **current} if previous.get(name) != current.get(name)]


def _iter_kept_rules(running_rules: Mapping[str, Rule], site: Site) -> Iterator[tuple[str, Rule]]:
    """Yields rules whose text is broken, and those of a file with an unreadable rule id."""
    broken_ids = {broken_rule.id for broken_rule in site.broken_rules}
    unclear_files = {
        broken_rule.location.file for broken_rule in site.broken_rules if not broken_rule.id
    }
    unclear_files |= {problem.location.file for problem in site.errors if not problem.rule}
    for name, rule in running_rules.items():
        if name not in site.rules and (name in broken_ids or rule.location.file in unclear_files):
            yield name, rule


def _drop_unknown_sinks(rule: Rule, sinks: Iterable[str]) -> Rule:
    """Removes from a rule the sinks of its own that do not exist before the next start."""
    if rule.alert is None or set(rule.alert.to) <= set(sinks):
        return rule
    known_sinks = tuple(sink for sink in rule.alert.to if sink in sinks)
    return replace(rule, alert=replace(rule.alert, to=known_sinks))


def _merge_registries(
    new_registry: Registry,
    old_registry: Registry,
    valid_rules: Mapping[str, Rule],
    kept_rules: Mapping[str, Rule],
) -> Registry:
    """Returns the new jobs; a rule that runs as it was keeps its old one if the new does not fit.
    A job that valid rules need in its new form stays new.
    """
    for rule in kept_rules.values():
        if rule.job is None or not new_registry.check_rule(rule):
            continue
        spec = rule.job
        names = {
            spec.run,
            *((spec.gather.run,) if spec.gather else ()),
        } & old_registry.signatures.keys()
        merged = Registry(
            {**new_registry.signatures, **{name: old_registry.signatures[name] for name in names}},
            {**new_registry.addresses, **{name: old_registry.addresses[name] for name in names}},
        )
        if not any(merged.check_rule(valid_rule) for valid_rule in valid_rules.values()):
            new_registry = merged
    return new_registry


def _check_cycles(rules: Mapping[str, Rule]) -> None:
    """Raises CatcherError if a kept rule forms an endless cycle of results with new ones."""
    visited: set[str] = set()

    def visit_rule(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            cycle = " → ".join((*trail[trail.index(name) :], name))
            raise CatcherError(
                f"with a rule that runs as it was, results would go round: {cycle}",
                "mend the broken rule first",
            )
        if name in rules and name not in visited:
            for upstream in _iter_upstream_rules(rules[name].trigger):
                visit_rule(upstream, (*trail, name))
            visited.add(name)

    for name in rules:
        visit_rule(name, ())


def _iter_upstream_rules(trigger: TriggerSpec) -> Iterator[str]:
    """Yields the rules whose results a trigger uses."""
    topics = [trigger.topic, *(step.topic for step in trigger.steps)]
    yield from (
        topic.removeprefix(RESULT_PREFIX) for topic in topics if topic.startswith(RESULT_PREFIX)
    )
    for member in trigger.any:
        yield from _iter_upstream_rules(member)


# -- settings that need a restart -------------------------------------------------------------


def _list_edited_settings(previous: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    return [name for name in current if previous.get(name) != current[name]]


def _collect_restart_settings(site: Site) -> dict[str, Any]:
    settings = site.settings
    stores = {name: getattr(settings.stores, name) for name in STORE_SETTINGS}
    return {
        "sources": {
            name: (spec.adapter.kind, spec.adapter.to_dict(), spec.clock)
            for name, spec in settings.sources.items()
        },
        "stores": {name: (section.kind, section.to_dict()) for name, section in stores.items()},
        "executor": (settings.executor.kind, settings.executor.to_dict()),
        **{name: getattr(settings, name) for name in PLAIN_SETTINGS},
        "heartbeat": settings.heartbeat.to_dict(),
        "announce": [(section.kind, section.to_dict()) for section in settings.announce],
        "spool": settings.stores.spool,
    }


def _collect_sink_settings(site: Site) -> dict[str, Any]:
    """Collects the sinks, with a digest of the file of each custom one."""
    fingerprints = {name: _compute_file_digest(path) for name, path in site.custom_sinks.items()}
    return {
        "sinks": {
            name: (section.kind, section.to_dict(), fingerprints.get(section.kind))
            for name, section in site.sinks.items()
        },
    }


def _compute_file_digest(path: Path) -> bytes:
    try:
        return blake2b(path.read_bytes()).digest()
    except OSError:
        return b""
