"""Routes an alert through the routing tree to its sinks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catcher.alerting.alert_table import AlertTable
from catcher.alerting.matchers import AlertMatcher, is_glob
from catcher.alerting.on_call import ON_SHIFT, OnCallRota
from catcher.alerting.route_tree import DEFAULT_GROUP_WAIT, Escalation, Route, RouteTree
from catcher.alerting.silences import SilenceTable
from catcher.alerting.solar import GeoLocation
from catcher.model.alert import Alert
from catcher.model.rule import Rule
from catcher.model.text import sanitize_single_line
from catcher.model.time import Instant, Span


@dataclass(frozen=True, slots=True)
class GroupKey:
    """The alerts of one `key` are notified together, after `wait`."""

    key: str
    wait: Span


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """One leaf that an alert matched: its sinks, or why it is held back there.

    `route_number` names the leaf (`route.2.1`), `path` has the matcher of each route to it.
    """

    path: tuple[str, ...]
    sinks: tuple[str, ...]
    silence_reason: str = ""
    repeat_interval: Span | None = None
    escalation: Escalation | None = None
    fallback: Escalation | None = None
    route_number: str = "route"
    group_by: tuple[str, ...] | None = None
    group_wait: Span | None = None
    auto_acknowledge_after: Span | None = None
    reminder_after: Span | None = None

    def build_group_key(self, alert: Alert) -> GroupKey | None:
        """Returns the alert's group key in this route; None if alerts are notified individually."""
        if not self.group_by:
            return None
        group_values = ", ".join(_get_group_by_value(alert, name) for name in self.group_by)
        digest = hashlib.blake2b(group_values.encode("utf-8", "replace"), digest_size=6).hexdigest()
        return GroupKey(
            f"{self.route_number} {digest}: {sanitize_single_line(group_values, 120)}",
            DEFAULT_GROUP_WAIT if self.group_wait is None else self.group_wait,
        )


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """All route matches of an alert. `sinks` has each sink once, in order; empty while silenced.

    `silence_id` is the id of the silence that holds it back, if one does.
    """

    matches: tuple[RouteMatch, ...]
    sinks: tuple[str, ...]
    silence_reason: str = ""
    silence_id: str = ""

    @property
    def repeat_interval(self) -> Span | None:
        """The shortest interval at which the notification is repeated."""
        return min(
            (
                match.repeat_interval
                for match in self._iter_active_matches()
                if match.repeat_interval
            ),
            default=None,
        )

    @property
    def escalation(self) -> Escalation | None:
        """The earliest escalation."""
        escalations = [
            match.escalation for match in self._iter_active_matches() if match.escalation
        ]
        return min(escalations, key=lambda escalation: escalation.after, default=None)

    @property
    def auto_acknowledge_after(self) -> Span | None:
        """How long after it cleared a latched alert is acknowledged automatically."""
        return min(
            (
                match.auto_acknowledge_after
                for match in self.matches
                if match.auto_acknowledge_after
            ),
            default=None,
        )

    @property
    def reminder_after(self) -> Span | None:
        """How long after its acknowledgement an alert that persists fires again."""
        return min(
            (match.reminder_after for match in self.matches if match.reminder_after), default=None
        )

    def find_fallback(self, sink: str) -> Escalation | None:
        """Returns the fallback of a sink that cannot be reached."""
        fallbacks = [
            match.fallback for match in self.matches if match.fallback and sink in match.sinks
        ]
        return min(fallbacks, key=lambda fallback: fallback.after, default=None)

    def find_group_key(self, alert: Alert, sink: str) -> GroupKey | None:
        """Returns the group key of the alert for a sink; None if it is notified individually.

        A sink that no route names (its rule does, or an escalation) is grouped as in the first
        match.
        """
        matches = list(self._iter_active_matches())
        match = next(
            (candidate for candidate in matches if sink in candidate.sinks),
            matches[0] if matches else None,
        )
        return match.build_group_key(alert) if match else None

    def _iter_active_matches(self) -> Iterator[RouteMatch]:
        return (match for match in self.matches if not match.silence_reason)


class InhibitionIndex:
    """The alerts that may inhibit others. `candidates` returns the open ones of a rule, or all."""

    def __init__(self, candidates: Callable[[str | None], Iterable[Alert]]) -> None:
        self._candidates = candidates

    def find_inhibitor(
        self, matcher: AlertMatcher, alert: Alert, now: Instant, site_location: GeoLocation | None
    ) -> Alert | None:
        """Returns an alert that matches and is not the alert itself."""
        has_plain_names = matcher.rule and not any(map(is_glob, matcher.rule))
        rules: tuple[str | None, ...] = matcher.rule if has_plain_names else (None,)
        for rule in rules:
            for candidate in self._candidates(rule):
                if candidate.id != alert.id and not matcher.find_failed_condition(
                    candidate, now, site_location
                ):
                    return candidate
        return None


NO_INHIBITION = InhibitionIndex(lambda rule: ())
"""An index without any open alerts."""


def route_alert(
    tree: RouteTree,
    alert: Alert,
    now: Instant,
    inhibitors: InhibitionIndex = NO_INHIBITION,
    rule_sinks: Iterable[str] = (),
) -> RoutingDecision:
    """Routes an alert. `rule_sinks` are the sinks that its rule adds with `to`.

    `inhibitors` are the alerts that may inhibit it. It is silenced if every route match is.
    """
    matches = tuple(
        _build_match(chain, route_number, alert, now, tree.site_location, inhibitors)
        for chain, route_number in _iter_matching_leaves(
            tree.route, (), "route", alert, now, tree.site_location
        )
    )
    active_matches = [match for match in matches if not match.silence_reason]
    if not active_matches:
        return RoutingDecision(
            matches, (), "; ".join(dict.fromkeys(match.silence_reason for match in matches))
        )
    sinks = dict.fromkeys(sink for match in active_matches for sink in match.sinks)
    sinks.update(dict.fromkeys(rule_sinks))
    return RoutingDecision(matches, tuple(sinks))


def _iter_matching_leaves(
    route: Route, parents: tuple[Route, ...], route_number: str, alert: Alert, now: Instant,
    site_location: GeoLocation | None,
) -> Iterator[tuple[tuple[Route, ...], str]]:  # fmt: skip
    chain, has_match = (*parents, route), False
    for index, child in enumerate(route.routes, 1):
        if child.matcher.find_failed_condition(alert, now, site_location):
            continue
        has_match = True
        yield from _iter_matching_leaves(
            child, chain, f"{route_number}.{index}", alert, now, site_location
        )
        if not child.continues:
            break
    if not has_match:
        yield chain, route_number


def _build_match(
    chain: tuple[Route, ...],
    route_number: str,
    alert: Alert,
    now: Instant,
    site_location: GeoLocation | None,
    inhibitors: InhibitionIndex,
) -> RouteMatch:
    def find_inherited(name: str) -> Any:
        values = (getattr(route, name) for route in reversed(chain))
        return next((value for value in values if value is not None), None)

    silence_reasons = (
        _find_mute_or_inhibit_reason(route, alert, now, site_location, inhibitors)
        for route in chain
    )
    return RouteMatch(
        path=tuple(str(route.matcher) for route in chain),
        sinks=next((route.to for route in reversed(chain) if route.to), ()),
        silence_reason=next(filter(None, silence_reasons), ""),
        repeat_interval=find_inherited("repeat"),
        escalation=find_inherited("escalate"),
        fallback=find_inherited("undelivered"),
        route_number=route_number,
        group_by=find_inherited("group_by"),
        group_wait=find_inherited("group_wait"),
        auto_acknowledge_after=find_inherited("acknowledge"),
        reminder_after=find_inherited("remind"),
    )


def _find_mute_or_inhibit_reason(
    route: Route,
    alert: Alert,
    now: Instant,
    site_location: GeoLocation | None,
    inhibitors: InhibitionIndex,
) -> str:
    for interval in route.mute:
        if interval.contains_instant(now, site_location):
            return f"muted {interval}"
    if route.inhibit_if is None:
        return ""
    inhibitor = inhibitors.find_inhibitor(route.inhibit_if, alert, now, site_location)
    return f"inhibited by {inhibitor.name}" if inhibitor else ""


def _get_group_by_value(alert: Alert, name: str) -> str:
    """Returns the value of one of a route's `group_by` names: an attribute of the alert, or a
    label."""
    if name in ("rule", "key", "per", "owner"):
        return str(getattr(alert, name))
    if name == "severity":
        return str(alert.display_severity)
    if name == "tags":
        return "+".join(alert.tags)
    return alert.labels.get(name, "")


# Routing with the state of the site: rules, routes, silences, and who is on shift.


INHIBITING_STATES = ("firing", "acknowledged")
SHADOW_REASON = "its rule runs in the shadow"


class Router:
    """Routes alerts. The alerts of `broken_rules`, which failed to load, stay as they are."""

    def __init__(self, alert_table: AlertTable, silences: SilenceTable, rota: OnCallRota) -> None:
        self._alert_table, self._silences, self._rota = alert_table, silences, rota
        self.rules: Mapping[str, Rule] = {}
        self.route_tree = RouteTree()
        self.broken_rules: frozenset[str] = frozenset()
        self.needs_periodic_reroute = False
        self._inhibition_index = InhibitionIndex(self._list_inhibiting)

    def replace_rules_and_routes(
        self, rules: Mapping[str, Rule], route_tree: RouteTree, broken_rules: Collection[str] = ()
    ) -> None:
        """Replaces the rules and routes."""
        self.rules, self.route_tree, self.broken_rules = rules, route_tree, frozenset(broken_rules)
        self.needs_periodic_reroute = route_tree.needs_periodic_reroute
        self._rota.replace_people(route_tree.sinks_by_person)

    def is_shadow(self, alert: Alert) -> bool:
        """Whether its rule is a shadow rule: nobody is notified of it."""
        rule = self.rules.get(alert.rule)
        return rule is not None and rule.shadow

    def route_alert(self, alert: Alert, now: Instant) -> RoutingDecision:
        """Routes an alert; without sinks while it is silenced."""
        if self.is_shadow(alert):
            return RoutingDecision((), (), SHADOW_REASON)
        rule = self.rules.get(alert.rule)
        rule_sinks = rule.alert.to if rule is not None and rule.alert is not None else ()
        decision = route_alert(self.route_tree, alert, now, self._inhibition_index, rule_sinks)
        silence = self._silences.find_for_alert(alert) if len(self._silences) else None
        if silence is not None:
            reason = f"silence {silence.id} of {silence.who}: {silence.reason}"
            return replace(decision, sinks=(), silence_reason=reason, silence_id=silence.id)
        if ON_SHIFT in decision.sinks:
            return replace(decision, sinks=self.expand_on_shift_sinks(decision.sinks))
        return decision

    def expand_on_shift_sinks(self, sinks: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the sinks with `on-shift` expanded, unless the site has a sink of that name."""
        return (
            sinks if ON_SHIFT in self.route_tree.sinks else self._rota.expand_on_shift_sinks(sinks)
        )

    def find_fallback(self, alert: Alert, sink: str, now: Instant) -> Escalation | None:
        """Returns the fallback of a sink that cannot be reached."""
        fallback = self.route_alert(alert, now).find_fallback(sink)
        return (
            None
            if fallback is None
            else replace(fallback, to=self.expand_on_shift_sinks(fallback.to))
        )

    def _list_inhibiting(self, rule: str | None) -> list[Alert]:
        return [
            alert
            for alert in self._alert_table.iter_open_by_rule(rule)
            if alert.state in INHIBITING_STATES
        ]
