"""What time alone does: shelves and silences end, reminders, escalations, what was held back."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from catcher.alerting import flapping, handling, lifecycle
from catcher.alerting.changed import NOTHING, Changed, together
from catcher.alerting.desk import ENGINE, Desk
from catcher.alerting.directing import Direction
from catcher.alerting.handling import CATCHER
from catcher.alerting.routing import HandOn
from catcher.alerting.silences import why_over
from catcher.alerting.transitions import Known
from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.desk import Silence
from catcher.model.time import MINUTE, Instant, Span, told_instant

MOST_MISSED = 2_000
"""So many notices that missed their sinks are taken in between two looks."""


class Aftercare:
    """Looks after what is on the desk when its time has come."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._missed: deque[tuple[Notice, tuple[str, ...]]] = deque()

    def missed(self, notice: Notice, hand_on: HandOn | None) -> bool:
        """Takes a notice that did not reach its sink; False while as many wait as may."""
        if hand_on is None:
            return True
        if len(self._missed) >= MOST_MISSED:
            return False
        self._missed.append((notice, hand_on.to))
        return True

    def tick(self, now: Instant) -> Changed:
        """All whose time has come: at most one thing happens to each, the next at the next look."""
        desk = self._desk
        changes = [self._silence(one, now) for one in desk.silences.due(now)]
        changes += [self._flood(now)]
        changes += [
            self.look_after(alert, now)
            for id in desk.agenda.take(now)
            if (alert := desk.register.find(id)) is not None
        ]
        changes += [desk.tell_bundle(id, now) for id in desk.bundles.due(now)]
        while self._missed:
            changes.append(desk.stand_in(*self._missed.popleft(), now))
        return together(one for one in changes if one != NOTHING)

    # -- one alert -----------------------------------------------------------------------------

    def look_after(self, alert: Alert, now: Instant) -> Changed:
        """One alert whose time has come."""
        desk = self._desk
        if alert.rule in desk.ways.broken:
            return NOTHING
        rule = desk.ways.rules.get(alert.rule)
        if rule is None or rule.alert is None:
            return self._retire(alert, now)
        if alert.state == "resolved":
            return self._put_away(alert, now)
        new, transition = lifecycle.miss(alert, rule.alert, now)
        if transition.real:
            return desk.take(desk.dress(new, rule), transition, now)
        for look in (
            handling.expire, handling.acknowledge_by_itself, handling.bring_back, self._calm
        ):  # fmt: skip
            new, transition = look(alert, now)
            if transition.real:
                return desk.take(new, transition, now)
        return self._remind(alert, desk.ways.direct(alert, now), now)

    def _calm(self, alert: Alert, now: Instant) -> Known:
        return flapping.calm(alert, self._desk.noise.flapping, now)

    def _retire(self, alert: Alert, now: Instant) -> Changed:
        gone, transition = lifecycle.retire(alert, "its rule is gone", now)
        if transition.real:
            gone = replace(gone, flapping=False)
            return self._desk.take(gone, replace(transition, muted=False), now)
        if alert.shelf is not None or alert.flapping:
            self._desk.register.put(replace(alert, shelf=None, flapping=False))
        return NOTHING

    def _put_away(self, alert: Alert, now: Instant) -> Changed:
        """A resolved alert is on the desk while its shelf lasts or it flaps."""
        new, transition = self._calm(alert, now)
        if transition.real:
            return self._desk.take(new, transition, now)
        shelf = alert.shelf
        if shelf is None or now < shelf.ends:
            self._desk.keep(alert, self._desk.ways.direct(alert, now), now)
            return NOTHING
        words = f"the shelf of {shelf.who} ended while it was resolved: {shelf.reason}"
        new = replace(alert, shelf=None, aside=words)
        self._desk.register.put(new)
        detail = {"name": alert.name, "rule": alert.rule, "reason": words}
        entry = AuditEntry(now, CATCHER, ENGINE, "unshelved", alert.id, detail)
        return Changed((new,), (), (entry,))

    def _remind(self, alert: Alert, direction: Direction, now: Instant) -> Changed:
        desk = self._desk
        if alert.state == "firing":
            newcomers = [
                one for one in direction.sinks
                if one not in alert.sinks and one not in alert.bundles
            ]  # fmt: skip
            if newcomers:
                return desk.tell_again(alert, "opened", newcomers, direction, now)
            if alert.escalates is not None and now >= alert.escalates:
                if not direction.silenced:
                    return desk.escalate(alert, direction, now)
                alert = replace(alert, escalates=now + _pause(direction))
            repeat, alone = direction.repeat, [one for one in direction.sinks if one in alert.sinks]
            due = repeat and alert.told is not None and now >= alert.told + repeat
            if due and alone and not alert.flapping:
                return desk.tell_again(alert, "reminder", alone, direction, now)
        if alert.held_back != direction.silenced and not alert.sinks:
            alert = replace(alert, held_back=direction.silenced)
        desk.keep(alert, direction, now)
        return NOTHING

    # -- silences ------------------------------------------------------------------------------

    def _silence(self, silence: Silence, now: Instant) -> Changed:
        if now >= silence.ends:
            return self.end_silence(silence, why_over(silence), now, CATCHER, ENGINE)
        held = self._held_by(silence)
        words = (
            f"the silence {silence.id} of {silence.who} over {silence.what} ends at "
            f"{told_instant(silence.ends)}: {silence.reason}"
        )
        warned = self._desk.silences.keep(replace(silence, warned=True))
        told = [self._warn(alert, words, now) for alert in held]
        detail = {"reason": words, "holds_back": len(held)}
        entry = AuditEntry(now, CATCHER, ENGINE, "silence ending", silence.id, detail)
        return together([*told, Changed(audit=(entry,), silences=(warned,))])

    def _warn(self, alert: Alert, words: str, now: Instant) -> Changed:
        """Those who know of an alert hear that the silence over it ends soon."""
        new = replace(alert, aside=words)
        direction = self._desk.ways.direct(alert, now)
        if not new.sinks:
            self._desk.keep(new, direction, now)
            return Changed((new,))
        return self._desk.tell_again(new, "reminder", new.sinks, direction, now)

    def end_silence(
        self, silence: Silence, why: str, now: Instant, who: str, channel: str
    ) -> Changed:
        """Takes a silence out of force; what it held back is told at the next look."""
        held = self._held_by(silence)
        ended = self._desk.silences.end(silence.id, why, now)
        for alert in held:
            self._desk.agenda.put(alert.id, 0)
        detail = {
            "reason": why, "silence": silence.what, "hits": silence.hits, "holds_back": len(held)
        }  # fmt: skip
        entry = AuditEntry(now, who, channel, "silence ended", silence.id, detail)
        return Changed(audit=(entry,), silences=(ended,))

    def _held_by(self, silence: Silence) -> list[Alert]:
        return [
            alert for alert in self._desk.register
            if alert.state == "firing" and self._desk.silences.over(alert) == silence
        ]  # fmt: skip

    # -- floods --------------------------------------------------------------------------------

    def _flood(self, now: Instant) -> Changed:
        """The end of a flood; what few alerts are still open are told by themselves then."""
        desk = self._desk
        if not desk.flood.on or desk.flood.turn(now) != "ended":
            return NOTHING
        changes = [Changed(audit=(desk.flood_entry("flood ended", now),))]
        law = desk.noise.flood
        for bundle in desk.bundles:
            if bundle.kind != "flood":
                continue
            found = (desk.register.find(one) for one in desk.bundles.members(bundle.id))
            standing = [one for one in found if one is not None and one.active]
            if law is not None and len(standing) > law.above:
                changes.append(desk.tell_bundle(bundle.id, now))
                continue
            changes.append(desk.tell_bundle(bundle.id, now, over=True))
            for alert in standing:
                rest = {sink: id for sink, id in alert.bundles.items() if id != bundle.id}
                desk.register.put(replace(alert, bundles=rest))
                desk.agenda.put(alert.id, 0)
        return together(one for one in changes if one != NOTHING)


def _pause(direction: Direction) -> Span:
    """How long an escalation is put off while the alert is held back from everybody."""
    return direction.escalate.after if direction.escalate else MINUTE
