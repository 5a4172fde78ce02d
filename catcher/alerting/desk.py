"""The alert desk: what each change of an alert comes to, with what all alerts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting import flapping, handling, lifecycle
from catcher.alerting.agenda import Agenda
from catcher.alerting.bundles import Bundles
from catcher.alerting.changed import Changed
from catcher.alerting.directing import Direction
from catcher.alerting.dressing import dress
from catcher.alerting.floods import FloodWatch
from catcher.alerting.handling import CATCHER
from catcher.alerting.noise import Noise
from catcher.alerting.register import Register
from catcher.alerting.rendering import Renderer
from catcher.alerting.rota import Rota
from catcher.alerting.routing import HandOn
from catcher.alerting.silences import Silences
from catcher.alerting.telling import Teller
from catcher.alerting.transitions import Transition, step
from catcher.alerting.ways import Ways
from catcher.alerting.wording import Links
from catcher.model.alert import Alert, AuditEntry, Notice, NoticeKind
from catcher.model.desk import Shift, Silence
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import plain
from catcher.model.time import SECOND, Instant

LOOK_AGAIN = 10 * SECOND
"""How often an alert is looked at whose way depends on the time of day or on other alerts."""
ENGINE = "engine"
"""The channel of what nobody asked for."""


class Desk:
    """The alerts of a site and what is decided over all of them."""

    def __init__(
        self,
        renderer: Renderer,
        links: Links,
        alerts: Iterable[Alert],
        episodes: int,
        silences: Iterable[Silence],
        shift: Shift | None,
    ) -> None:
        self._renderer, self._links = renderer, links
        alerts = list(alerts)
        self.register = Register(alerts, episodes)
        self.agenda = Agenda()
        self.silences = Silences(silences)
        self.rota = Rota({}, shift)
        self.bundles = Bundles()
        self.ways = Ways(self.register, self.silences, self.rota)
        appeared = [one.appeared for one in alerts if one.appeared is not None]
        self.flood = FloodWatch(None, appeared)
        self._teller = Teller(self.bundles, self.flood)
        self.fleeting = 0

    @property
    def noise(self) -> Noise:
        """The bounds of the site."""
        return self.ways.tree.noise

    @property
    def message_failures(self) -> int:
        """Templates that failed."""
        return self._renderer.failures

    # -- one change ----------------------------------------------------------------------------

    def dress(self, alert: Alert, rule: Rule, run: Run | None = None) -> Alert:
        """The alert in the words of its rule, with its links."""
        dressed = dress(alert, rule, run, self._renderer)
        return replace(dressed, links={**self._links(dressed), **dressed.links})

    def take(
        self,
        alert: Alert,
        transition: Transition,
        now: Instant,
        who: str = CATCHER,
        channel: str = ENGINE,
        detail: Mapping[str, Any] | None = None,
    ) -> Changed:
        """Keeps a real transition, tells it, and puts it down in the audit trail."""
        direction = self.ways.direct(alert, now)
        alert = self._set_times(alert, direction, now)
        began = self._count(alert, transition, direction, now)
        alert, told = self._teller.tell(alert, transition, direction, self.ways.tree, now)
        self.keep(alert, direction, now)
        entry = AuditEntry(now, who, channel, transition.kind, alert.id, {
            "name": plain(alert.name), "rule": alert.rule, "severity": str(alert.severity),
            "reason": transition.reason, **(detail or {}),
        })  # fmt: skip
        held = self._held_by_silence(direction, transition, now)
        return Changed((alert,), told, (entry, *began), held)

    def _count(
        self, alert: Alert, transition: Transition, direction: Direction, now: Instant
    ) -> tuple[AuditEntry, ...]:
        """Counts what is news to people; an entry where a flood begins with it."""
        annunciated = direction.sinks and alert.state == "firing" and not transition.muted
        if transition.kind != "opened" or not annunciated:
            return ()
        if self.flood.opened(now) != "began":
            return ()
        return (self.flood_entry("flood began", now),)

    def flood_entry(self, what: str, now: Instant) -> AuditEntry:
        """What the audit trail says of a flood."""
        detail = {"new_alerts": self.flood.rate(now)}
        return AuditEntry(now, CATCHER, ENGINE, what, "", detail)

    def _held_by_silence(
        self, direction: Direction, transition: Transition, now: Instant
    ) -> tuple[Silence, ...]:
        if transition.kind not in ("opened", "raised") or not direction.silence:
            return ()
        silence = self.silences.hit(direction.silence, now)
        return (silence,) if silence else ()

    # -- telling again -------------------------------------------------------------------------

    def tell_again(
        self,
        alert: Alert,
        kind: NoticeKind,
        sinks: Iterable[str],
        direction: Direction,
        now: Instant,
    ) -> Changed:
        """The same alert, told again or to others, under a number of its own."""
        again, _ = step(alert, alert, "updated", alert.reason)
        if kind == "opened":
            # What was held back is news only now: nobody could have taken it before.
            again = self._set_times(again, direction, now)
        again, told = self._teller.spread(
            replace(again, held_back=""), kind, sinks, direction, self.ways.tree, now,
            alert.shown_severity,
        )  # fmt: skip
        self.keep(again, direction, now)
        return Changed((again,), told)

    def escalate(self, alert: Alert, direction: Direction, now: Instant) -> Changed:
        """Hands an alert on: those who know of it hear that, the others hear of it."""
        to = self.ways.expand(alert.escalate_to)
        handed, transition = handling.escalated(alert, to)
        changed = self.take(self._next_step(handed, direction), transition, now)
        handed = changed.alerts[0]
        newcomers = [one for one in to if one not in handed.sinks and one not in handed.bundles]
        if not newcomers:
            return changed
        handed, told = self._teller.spread(
            handed, "opened", newcomers, direction, self.ways.tree, now, alert.shown_severity
        )
        self.keep(handed, direction, now)
        return replace(changed, alerts=(handed,), notices=changed.notices + told)

    def stand_in(self, missed: Notice, to: Iterable[str], now: Instant) -> Changed:
        """Tells others how an alert stands that its own sink did not hear of in time.

        They know of it then as all who were told, so they hear what becomes of it.
        """
        bundle = self.bundles.find(missed.alert.id)
        alert = bundle.alert if bundle is not None else self._as_it_stands(missed)
        heard = (missed.sink, *alert.sinks, *alert.bundles)
        newcomers = [one for one in to if one not in heard]
        direction = self.ways.direct(alert, now)
        if not newcomers or alert.state in ("pending", "shelved"):
            return Changed()
        if bundle is None and direction.silenced:
            return Changed()
        entry = AuditEntry(now, CATCHER, ENGINE, "stand-in", alert.id, {
            "name": plain(alert.name), "rule": alert.rule, "sink": missed.sink, "to": newcomers,
            "reason": f"{missed.sink} was not reached in time",
        })  # fmt: skip
        if bundle is not None:
            alert, told = self._teller.instead(alert, newcomers, now)
            sinks = tuple(dict.fromkeys((*bundle.sinks, *newcomers)))
            bundle = replace(bundle, alert=alert, sinks=sinks)
            self.bundles.put(bundle)
            return Changed((), told, (entry,), bundles=(bundle,))
        again, _ = step(alert, alert, "updated", alert.reason)
        again, told = self._teller.instead(again, newcomers, now)
        if self.register.find(again.id) is None:
            return Changed((), told, (entry,))
        self.keep(again, direction, now)
        return Changed((again,), told, (entry,))

    def _as_it_stands(self, missed: Notice) -> Alert:
        """The alert of a notice as it stands now; of one that is over with its last values."""
        alert = self.register.find(missed.alert.id)
        if alert is None or alert.episode < missed.alert.episode:
            return missed.alert
        return alert if alert.values else replace(alert, values=missed.alert.values)

    def _next_step(self, alert: Alert, direction: Direction) -> Alert:
        """The next step of an escalation; its time counts from the same beginning."""
        steps = list(direction.escalate.steps()) if direction.escalate else []
        done = alert.handed
        if done >= len(steps) or alert.escalates is None:
            return replace(alert, escalates=None)
        due = alert.escalates + steps[done].after - steps[done - 1].after
        return replace(alert, escalates=due, escalate_to=steps[done].to)

    def _set_times(self, alert: Alert, direction: Direction, now: Instant) -> Alert:
        """When it is handed on, acknowledged or brought back by itself."""
        alert = handling.due_of_itself(alert, direction.acknowledge, direction.remind, now)
        hand_on: HandOn | None = direction.escalate
        waits = alert.state == "firing" and not alert.handed and alert.escalates is None
        if not waits or hand_on is None or direction.silenced or self.ways.quiet(alert):
            return alert
        return replace(alert, escalates=now + hand_on.after, escalate_to=hand_on.to)

    # -- bundles -------------------------------------------------------------------------------

    def tell_bundle(self, id: str, now: Instant, over: bool = False) -> Changed:
        """A bundle whose time to be told has come; the only one of a group is told by itself."""
        bundle = self.bundles.find(id)
        if bundle is None:
            return Changed()
        if bundle.told is None:
            found = (self.register.find(one) for one in self.bundles.members(id))
            members = [one for one in found if one is not None]
            standing = [one for one in members if one.active]
            if not standing or len(members) == 1:
                self.bundles.drop(id)
                self.fleeting += len(members) - len(standing)
                return self._tell_alone(standing, now)
        previous = bundle.alert
        new = self.bundles.tell(id, self.register.find, now, over)
        if new is None:
            return Changed()
        new, told = self._teller.of_bundle(new, previous)
        self.bundles.put(new)
        return Changed(notices=told, bundles=(new,))

    def _tell_alone(self, standing: list[Alert], now: Instant) -> Changed:
        alerts: list[Alert] = []
        notices: list[Notice] = []
        for alert in standing:
            alone, told = self._teller.alone(alert, now)
            self.keep(alone, self.ways.direct(alone, now), now)
            alerts.append(alone)
            notices += told
        return Changed(tuple(alerts), tuple(notices))

    # -- when to look again --------------------------------------------------------------------

    def keep(self, alert: Alert, direction: Direction, now: Instant) -> None:
        """Takes an alert as it now stands, and when to look at it next."""
        self.register.put(alert)
        due = self._next_look(alert, direction, now)
        self.agenda.put(alert.id, None if due is None else max(due, now + 1))

    def _next_look(self, alert: Alert, direction: Direction, now: Instant) -> Instant | None:
        times = [flapping.calm_due(alert, self.noise.flapping), handling.next_of_shelf(alert)]
        rule = self.ways.rules.get(alert.rule)
        if rule is not None and rule.alert is not None and alert.state != "resolved":
            times.append(lifecycle.unknown_due(alert, rule.alert))
        if alert.active:
            times += [alert.acknowledges, alert.reminds]
        if alert.state == "firing" and not self.ways.quiet(alert):
            times.append(alert.escalates)
            if direction.repeat and alert.told is not None and alert.sinks:
                times.append(alert.told + direction.repeat)
            if self.ways.timed:
                times.append(now + LOOK_AGAIN)
        return min((time for time in times if time is not None), default=None)
