"""Level changes become alerts and notices. Pure: no I/O, and `now` is an argument."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting import handling, lifecycle, routing, telling
from catcher.alerting.agenda import Agenda
from catcher.alerting.changed import NOTHING, Changed, Refused
from catcher.alerting.dressing import dress
from catcher.alerting.register import Register
from catcher.alerting.rendering import Renderer
from catcher.alerting.routing import Direction, HandOn, RouteTree
from catcher.alerting.transitions import Known, Transition, step
from catcher.alerting.wording import Links
from catcher.model.alert import Alert, AuditEntry, LevelChange, Notice, NoticeKind, Severity
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import plain
from catcher.model.time import SECOND, Instant

LOOK_AGAIN = 10 * SECOND
"""How often an alert is looked at whose way depends on the time of day or on other alerts."""


class Alerting:
    """All alerts of a site.

    `alerts` are those of the ledger: all open ones, and of the resolved ones the latest, so that
    their episodes count on. `broken` are rules set aside at load: their alerts stay as they are,
    while those of rules that are gone are resolved at the next `tick`. `episodes` is how far
    those of alerts count that are not among `alerts`.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        routes: RouteTree,
        renderer: Renderer,
        links: Links = lambda alert: {},
        alerts: Iterable[Alert] = (),
        broken: Collection[str] = (),
        episodes: int = 0,
    ) -> None:
        self._renderer = renderer
        self._links = links
        self._register = Register(alerts, episodes)
        self._agenda = Agenda()
        self.swap(rules, routes, broken)

    def swap(
        self, rules: Mapping[str, Rule], routes: RouteTree, broken: Collection[str] = ()
    ) -> None:
        """Other rules and routes from now on; each open alert is looked at on the next `tick`."""
        self._rules, self._routes, self._broken = rules, routes, frozenset(broken)
        self._timed = routes.timed
        for alert in self._register:
            self._agenda.put(alert.id, 0)

    # -- what the data say ---------------------------------------------------------------------

    def apply(self, change: LevelChange, now: Instant, run: Run | None = None) -> Changed:
        """What a level change makes of its alert; `run` is the finished run that it came from."""
        alert, rule = self._register.find(change.alert), self._rules.get(change.rule)
        if rule is None or rule.alert is None:
            return self._look_after(alert, now) if alert else NOTHING
        new, transition = lifecycle.judge(alert, change, rule.alert, now)
        if new is None:
            return NOTHING
        if alert is None:
            new = replace(new, episode=self._register.first_episode)
        if not transition.real:
            self._register.put(new)
            return NOTHING
        return self._take(self._dress(new, rule, run), transition, now)

    def tick(self, now: Instant) -> Changed:
        """What time alone does: shelves end, reminders, escalations, what was held back."""
        done = [
            self._look_after(alert, now)
            for id in self._agenda.take(now)
            if (alert := self._register.find(id)) is not None
        ]
        if not done:
            return NOTHING
        return Changed(
            tuple(alert for one in done for alert in one.alerts),
            tuple(notice for one in done for notice in one.notices),
            tuple(entry for one in done for entry in one.audit),
        )

    # -- what people do ------------------------------------------------------------------------

    def acknowledge(
        self,
        alert_id: str,
        severity: Severity | None,
        who: str,
        note: str,
        now: Instant,
        channel: str,
    ) -> Changed:
        """Somebody takes an alert at the severity they saw (None: as it is shown now)."""
        return self._deed(
            alert_id, who, channel, now, "acknowledge", {"severity": str(severity), "note": note},
            lambda alert: handling.acknowledge(
                alert, alert.shown_severity if severity is None else severity, who, note, now
            ),
        )  # fmt: skip

    def shelve(
        self, alert_id: str, until: Instant, who: str, reason: str, now: Instant, channel: str
    ) -> Changed:
        """Somebody puts an alert aside until an end, and says why."""
        return self._deed(
            alert_id, who, channel, now, "shelve", {"until": until, "reason": reason},
            lambda alert: handling.shelve(alert, until, who, reason, now),
        )  # fmt: skip

    def unshelve(self, alert_id: str, who: str, now: Instant, channel: str) -> Changed:
        """Somebody takes an alert off its shelf."""
        return self._deed(
            alert_id, who, channel, now, "unshelve", {},
            lambda alert: handling.unshelve(alert, f"taken off the shelf by {who}"),
        )  # fmt: skip

    def note(self, alert_id: str, text: str, who: str, now: Instant, channel: str) -> Changed:
        """Somebody says something about an alert; it is kept in the audit trail."""
        return self._deed(
            alert_id, who, channel, now, "note", {"text": text},
            lambda alert: (alert, Transition("nothing", text)),
        )  # fmt: skip

    # -- looking -------------------------------------------------------------------------------

    @property
    def broken(self) -> Collection[str]:
        """The rules that were set aside, whose alerts stay as they are."""
        return self._broken

    def active(self) -> list[Alert]:
        """What is in front of somebody, worst and oldest first."""
        return self._register.active()

    def get(self, text: str) -> Alert:
        """By id, by its beginning or by name; CatcherError where none or several fit."""
        return self._register.get(text)

    def undelivered(self, notice: Notice) -> HandOn | None:
        """What stands in for the sink of a notice when that cannot be reached."""
        return self._direct(notice.alert, notice.time).undelivered(notice.sink)

    def counts(self) -> dict[str, int]:
        """Alerts by state; those held back from all; failed messages; what is not remembered."""
        counts = {"open": 0, "held_back": 0, "message_failures": self._renderer.failures}
        counts["forgotten"] = self._register.forgotten
        for alert in self._register:
            counts["open"] += alert.active
            counts["held_back"] += alert.state == "firing" and not alert.sinks
            counts[alert.state] = counts.get(alert.state, 0) + 1
        return counts

    # -- one alert -----------------------------------------------------------------------------

    def _dress(self, alert: Alert, rule: Rule, run: Run | None) -> Alert:
        dressed = dress(alert, rule, run, self._renderer)
        return replace(dressed, links={**self._links(dressed), **dressed.links})

    def _take(
        self,
        alert: Alert,
        transition: Transition,
        now: Instant,
        who: str = "catcher",
        channel: str = "engine",
        detail: Mapping[str, Any] | None = None,
    ) -> Changed:
        """Keeps a real transition, tells it, and puts it down in the audit trail."""
        direction = self._direct(alert, now)
        alert = self._set_escalation(alert, direction, now)
        kind = telling.KINDS.get(transition.kind)
        told: tuple[Notice, ...] = ()
        if kind is not None:
            sinks = telling.hearers(alert, transition, direction)
            alert, told = telling.notices(alert, kind, sinks, now, transition.previous)
        self._keep(alert, direction, now)
        entry = AuditEntry(now, who, channel, transition.kind, alert.id, {
            "name": plain(alert.name), "severity": str(alert.severity),
            "reason": transition.reason, **(detail or {}),
        })  # fmt: skip
        return Changed((alert,), told, (entry,))

    def _deed(
        self,
        id: str,
        who: str,
        channel: str,
        now: Instant,
        what: str,
        detail: Mapping[str, Any],
        act: Callable[[Alert], Known],
    ) -> Changed:
        try:
            if not who.strip():
                raise CatcherError(f"who wants to {what}?", "give a name")
            alert, transition = act(self._register.get(id))
        except CatcherError as error:
            refusal = {**detail, "refused": error.message}
            raise Refused(error, AuditEntry(now, who, channel, what, id[:200], refusal)) from error
        if transition.real:
            return self._take(alert, transition, now, who, channel, detail)
        return Changed((alert,), (), (AuditEntry(now, who, channel, what, alert.id, detail),))

    # -- time ----------------------------------------------------------------------------------

    def _look_after(self, alert: Alert, now: Instant) -> Changed:
        """One alert whose time has come: at most one thing happens, the next at the next look."""
        if alert.rule in self._broken:
            return NOTHING
        rule = self._rules.get(alert.rule)
        if rule is None or rule.alert is None:
            gone, transition = lifecycle.retire(alert, "its rule is gone", now)
            return self._take(gone, transition, now) if transition.real else NOTHING
        new, transition = lifecycle.miss(alert, rule.alert, now)
        if not transition.real:
            new, transition = handling.expire(alert, now)
        if transition.real:
            return self._take(self._dress(new, rule, None), transition, now)
        return self._remind(alert, self._direct(alert, now), now)

    def _remind(self, alert: Alert, direction: Direction, now: Instant) -> Changed:
        if alert.state == "firing":
            newcomers = [sink for sink in direction.sinks if sink not in alert.sinks]
            if newcomers:
                return self._tell_again(alert, "opened", newcomers, direction, now)
            if alert.escalates is not None and now >= alert.escalates and not alert.escalated:
                return self._escalate(alert, direction, now)
            repeat = direction.repeat
            if repeat and alert.told is not None and now >= alert.told + repeat:
                return self._tell_again(alert, "reminder", direction.sinks, direction, now)
        self._keep(alert, direction, now)
        return NOTHING

    def _escalate(self, alert: Alert, direction: Direction, now: Instant) -> Changed:
        """Hands an alert on: those who know of it hear that, the others hear of it."""
        handed, transition = handling.escalated(alert)
        changed = self._take(handed, transition, now)
        newcomers = [sink for sink in alert.escalate_to if sink not in alert.sinks]
        handed, told = telling.notices(
            changed.alerts[0], "opened", newcomers, now, alert.shown_severity
        )
        self._keep(handed, direction, now)
        return Changed((handed,), changed.notices + told, changed.audit)

    def _tell_again(
        self,
        alert: Alert,
        kind: NoticeKind,
        sinks: Iterable[str],
        direction: Direction,
        now: Instant,
    ) -> Changed:
        """The same alert, told again or to others, under a number of its own."""
        again, _ = step(alert, alert, "updated", alert.reason)
        again, told = telling.notices(again, kind, sinks, now, alert.shown_severity)
        self._keep(again, direction, now)
        return Changed((again,), told)

    def _set_escalation(self, alert: Alert, direction: Direction, now: Instant) -> Alert:
        hand_on = direction.escalate
        waits = alert.state == "firing" and not alert.escalated and alert.escalates is None
        if not waits or hand_on is None or self._quiet(alert):
            return alert
        return replace(alert, escalates=now + hand_on.after, escalate_to=hand_on.to)

    def _keep(self, alert: Alert, direction: Direction, now: Instant) -> None:
        self._register.put(alert)
        due = self._next_look(alert, direction, now)
        self._agenda.put(alert.id, None if due is None else max(due, now + 1))

    def _next_look(self, alert: Alert, direction: Direction, now: Instant) -> Instant | None:
        rule = self._rules.get(alert.rule)
        if rule is None or rule.alert is None or alert.state == "resolved":
            return None
        times = [lifecycle.unknown_due(alert, rule.alert)]
        if alert.state == "shelved" and alert.shelf is not None:
            times.append(alert.shelf.until)
        if alert.state == "firing" and not self._quiet(alert):
            times.append(None if alert.escalated else alert.escalates)
            if direction.repeat and alert.told is not None:
                times.append(alert.told + direction.repeat)
            if self._timed:
                times.append(now + LOOK_AGAIN)
        return min((time for time in times if time is not None), default=None)

    # -- ways ----------------------------------------------------------------------------------

    def _quiet(self, alert: Alert) -> bool:
        rule = self._rules.get(alert.rule)
        return rule is not None and rule.shadow

    def _direct(self, alert: Alert, now: Instant) -> Direction:
        if self._quiet(alert):
            return Direction((), (), "its rule runs in the shadow")
        rule = self._rules.get(alert.rule)
        extra = rule.alert.to if rule is not None and rule.alert is not None else ()
        return routing.direct(self._routes, alert, now, self._inhibitors, extra)

    def _inhibitors(self) -> Iterable[Alert]:
        return (one for one in self._register if one.state in ("firing", "acknowledged"))
