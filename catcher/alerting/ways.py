"""Which way each alert of a site goes now: rules, routes, silences, and who is on shift."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from catcher.alerting.directing import Direction, Inhibitors, direct
from catcher.alerting.register import Register
from catcher.alerting.rota import ON_SHIFT, Rota
from catcher.alerting.routing import HandOn, RouteTree
from catcher.alerting.silences import Silences
from catcher.model.alert import Alert
from catcher.model.rule import Rule
from catcher.model.time import Instant

IN_FRONT = ("firing", "acknowledged")
SHADOW = "its rule runs in the shadow"


class Ways:
    """Directs alerts. `broken` are the rules that were set aside, whose alerts stay."""

    def __init__(self, register: Register, silences: Silences, rota: Rota) -> None:
        self._register, self._silences, self._rota = register, silences, rota
        self.rules: Mapping[str, Rule] = {}
        self.tree = RouteTree()
        self.broken: frozenset[str] = frozenset()
        self.timed = False
        self._inhibitors = Inhibitors(self._open_ones)

    def swap(
        self, rules: Mapping[str, Rule], tree: RouteTree, broken: Collection[str] = ()
    ) -> None:
        """Other rules and routes from now on."""
        self.rules, self.tree, self.broken = rules, tree, frozenset(broken)
        self.timed = tree.timed
        self._rota.swap(tree.people)

    def quiet(self, alert: Alert) -> bool:
        """Whether its rule runs in the shadow: nobody hears of it."""
        rule = self.rules.get(alert.rule)
        return rule is not None and rule.shadow

    def direct(self, alert: Alert, now: Instant) -> Direction:
        """Where an alert goes; nowhere while it is silenced."""
        if self.quiet(alert):
            return Direction((), (), SHADOW)
        rule = self.rules.get(alert.rule)
        extra = rule.alert.to if rule is not None and rule.alert is not None else ()
        direction = direct(self.tree, alert, now, self._inhibitors, extra)
        silence = self._silences.over(alert) if len(self._silences) else None
        if silence is not None:
            words = f"silence {silence.id} of {silence.who}: {silence.reason}"
            return replace(direction, sinks=(), silenced=words, silence=silence.id)
        if ON_SHIFT in direction.sinks:
            return replace(direction, sinks=self.expand(direction.sinks))
        return direction

    def expand(self, sinks: tuple[str, ...]) -> tuple[str, ...]:
        """The sinks with `on-shift` spelt out, unless a sink of the site is called so."""
        return sinks if ON_SHIFT in self.tree.sinks else self._rota.expand(sinks)

    def stand_in(self, alert: Alert, sink: str, now: Instant) -> HandOn | None:
        """What stands in for a sink that cannot be reached."""
        found = self.direct(alert, now).undelivered(sink)
        return None if found is None else replace(found, to=self.expand(found.to))

    def _open_ones(self, rule: str | None) -> list[Alert]:
        return [one for one in self._register.of_rule(rule) if one.state in IN_FRONT]
