"""Level changes become alerts and notices. Pure: no I/O, and `now` is an argument."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting import flapping, lifecycle
from catcher.alerting.aftercare import Aftercare
from catcher.alerting.changed import NOTHING, Changed
from catcher.alerting.desk import Desk
from catcher.alerting.people import Deed, People
from catcher.alerting.rendering import Renderer
from catcher.alerting.routing import HandOn, RouteTree
from catcher.alerting.wording import Links
from catcher.model.alert import Alert, LevelChange, Notice, Severity
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.health import Health
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import plain
from catcher.model.time import Instant


class Alerting:
    """All alerts of a site.

    `alerts` are those of the ledger: all open ones, and of the resolved ones the latest, so that
    their episodes count on. `broken` are rules set aside at load: their alerts stay as they are,
    while those of rules that are gone are resolved at the next `tick`. `episodes` is how far
    those of alerts count that are not among `alerts`. `silences`, `shift` and `bundles` are what
    the ledger kept of them.
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
        silences: Iterable[Silence] = (),
        shift: Shift | None = None,
        bundles: Iterable[Bundle] = (),
    ) -> None:
        self._desk = Desk(renderer, links, alerts, episodes, silences, shift)
        self._desk.bundles.restore(bundles, self._desk.register.all())
        self._forget_lost_bundles()
        self._aftercare = Aftercare(self._desk)
        self._people = People(self._desk, self._aftercare)
        self.swap(rules, routes, broken)

    def swap(
        self, rules: Mapping[str, Rule], routes: RouteTree, broken: Collection[str] = ()
    ) -> None:
        """Other rules and routes from now on; each open alert is looked at on the next `tick`."""
        self._desk.ways.swap(rules, routes, broken)
        self._desk.flood.swap(routes.noise.flood)
        for alert in self._desk.register:
            self._desk.agenda.put(alert.id, 0)

    def _forget_lost_bundles(self) -> None:
        """What was to be told in a message that was never kept is told anew."""
        for alert in self._desk.register:
            known = {sink: id for sink, id in alert.bundles.items() if self._desk.bundles.find(id)}
            if known != alert.bundles:
                self._desk.register.put(replace(alert, bundles=known))

    # -- what the data say ---------------------------------------------------------------------

    def apply(self, change: LevelChange, now: Instant, run: Run | None = None) -> Changed:
        """What a level change makes of its alert; `run` is the finished run that it came from."""
        desk = self._desk
        alert, rule = desk.register.find(change.alert), desk.ways.rules.get(change.rule)
        if rule is None or rule.alert is None:
            return self._aftercare.look_after(alert, now) if alert else NOTHING
        new, transition = lifecycle.judge(alert, change, rule.alert, now)
        if new is None:
            return NOTHING
        if alert is None:
            first = desk.register.first_episode
            new = replace(new, episode=first, thread=first)
        if not transition.real:
            desk.register.put(new)
            return NOTHING
        law = desk.noise.flapping
        if law is not None:
            new = flapping.swing(new, alert, transition, now, law)
            transition = flapping.muted(new, alert, transition)
        return desk.take(desk.dress(new, rule, run), transition, now)

    def tick(self, now: Instant) -> Changed:
        """What time alone does: shelves end, reminders, escalations, what was held back."""
        return self._aftercare.tick(now)

    def missed(self, notice: Notice) -> bool:
        """A sink has not got this in time: at the next `tick` others are told instead of it.

        False while as many wait as may: it is to be brought again.
        """
        return self._aftercare.missed(notice, self.undelivered(notice))

    # -- what people do ------------------------------------------------------------------------

    def acknowledge(
        self, alert_id: str, severity: Severity | None, who: str, note: str, now: Instant,
        channel: str,
    ) -> Changed:  # fmt: skip
        """Somebody takes an alert at the severity they saw (None: as it is shown now)."""
        seen = str(severity) if severity is not None else "as shown"
        deed = _deed(who, "acknowledge", now, channel, {"seen": seen, "note": note})
        return self._people.acknowledge(alert_id, severity, note, deed)

    def shelve(
        self, alert_id: str, until: Instant, who: str, reason: str, now: Instant, channel: str
    ) -> Changed:
        """Somebody puts an alert aside until an end, and says why."""
        deed = _deed(who, "shelve", now, channel, {"until": until, "why": reason})
        return self._people.shelve(alert_id, until, reason, deed)

    def unshelve(self, alert_id: str, who: str, now: Instant, channel: str) -> Changed:
        """Somebody takes an alert off its shelf."""
        return self._people.unshelve(alert_id, _deed(who, "unshelve", now, channel, {}))

    def confirm(self, id: str, who: str, now: Instant, channel: str) -> Changed:
        """Somebody of a new shift takes over a shelf or a silence."""
        return self._people.confirm(id, _deed(who, "confirm", now, channel, {}))

    def assign(self, alert_id: str, to: str, who: str, now: Instant, channel: str) -> Changed:
        """Somebody says who sees to an alert."""
        return self._people.assign(alert_id, to, _deed(who, "assign", now, channel, {"to": to}))

    def note(
        self, alert_id: str, text: str, who: str, now: Instant, channel: str, link: str = ""
    ) -> Changed:
        """Somebody says something about an alert, and where there is more."""
        detail = {"text": text, **({"link": link} if link else {})}
        return self._people.note(alert_id, text, link, _deed(who, "note", now, channel, detail))

    def silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, until: Instant, who: str,
        reason: str, now: Instant, channel: str,
    ) -> Changed:  # fmt: skip
        """Somebody holds back all news of what fits, up to a severity, until an end."""
        detail = {"silence": name, "labels": dict(labels), "until": until, "why": reason}
        deed = _deed(who, "silence", now, channel, detail)
        return self._people.silence(name, labels, severity, until, reason, deed)

    def unsilence(self, id: str, who: str, now: Instant, channel: str) -> Changed:
        """Somebody ends a silence before its time."""
        return self._people.unsilence(id, _deed(who, "unsilence", now, channel, {}))

    def hand_over(self, to: str, who: str, note: str, now: Instant, channel: str) -> Changed:
        """Somebody hands the shift over."""
        deed = _deed(who, "hand over", now, channel, {"to": to, "note": note})
        return self._people.hand_over(to, note, deed)

    # -- looking -------------------------------------------------------------------------------

    @property
    def broken(self) -> Collection[str]:
        """The rules that were set aside, whose alerts stay as they are."""
        return self._desk.ways.broken

    @property
    def shift(self) -> Shift | None:
        """Who is on shift."""
        return self._desk.rota.shift

    def active(self) -> list[Alert]:
        """What is in front of somebody, worst and oldest first."""
        return self._desk.register.active()

    def silences(self) -> list[Silence]:
        """The silences in force, the next to end first."""
        return sorted(self._desk.silences, key=lambda one: (one.ends, one.id))

    def get(self, text: str) -> Alert:
        """By id, by its beginning or by name; CatcherError where none or several fit.

        The id of a message about many alerts gives that message.
        """
        bundle = self._desk.bundles.find(text)
        return bundle.alert if bundle is not None else self._desk.register.get(text)

    def undelivered(self, notice: Notice) -> HandOn | None:
        """What stands in for the sink of a notice when that cannot be reached."""
        bundle = self._desk.bundles.find(notice.alert.id)
        if bundle is None:
            return self._desk.ways.stand_in(notice.alert, notice.sink, notice.time)
        if bundle.fallback is None:
            return None
        return HandOn(bundle.fallback[0], self._desk.ways.expand(bundle.fallback[1]))

    def counts(self) -> dict[str, int]:
        """Alerts by state; those held back from all; failed messages; what is not remembered."""
        desk = self._desk
        counts: dict[str, int] = dict.fromkeys(("open", "held_back", "untold", "flapping"), 0)
        for alert in desk.register:
            heard = alert.sinks or alert.bundles
            counts["open"] += alert.active
            counts["held_back"] += alert.state == "firing" and not heard
            counts["untold"] += alert.untold
            counts["flapping"] += alert.flapping
            counts[alert.state] = counts.get(alert.state, 0) + 1
        return {
            **counts, "bundles": len(desk.bundles), "silences": len(desk.silences),
            "fleeting": desk.fleeting, "flood": int(desk.flood.on),
            "message_failures": desk.message_failures, "forgotten": desk.register.forgotten,
        }  # fmt: skip

    def health(self, now: Instant) -> Health:
        """How it is at the desk; a flood is told as a problem."""
        rate, since = self._desk.flood.rate(now), self._desk.flood.since
        counts = {**self.counts(), "new_in_10m": rate}
        words = "" if since is None else f"a flood: {rate} new alerts in ten minutes"
        return Health("alerts", "desk", "ok", since or 0, now, words, counts)

    def flood(self, now: Instant) -> Mapping[str, Any]:
        """New alerts in the last ten minutes, and since when there is a flood."""
        return {"new_alerts": self._desk.flood.rate(now), "since": self._desk.flood.since}


def _deed(who: str, what: str, now: Instant, channel: str, detail: Mapping[str, Any]) -> Deed:
    """A deed whose doer is a plain name, whatever came in."""
    return Deed(plain(who, 100), what, now, channel, detail)
