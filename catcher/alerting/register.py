"""The alerts that are open, and what has to be remembered of those that were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from catcher.model.alert import Alert
from catcher.model.problem import CatcherError

REMEMBERED = 5_000


class Register:
    """Alerts by id. Of resolved ones the latest are remembered, so that episodes count on.

    A resolved alert on a shelf is kept with the open ones: when it opens again before the
    shelf ends it stays there. So is one that flaps, until it is calm. `episodes` is how
    far those of alerts count that are not given.
    """

    def __init__(self, alerts: Iterable[Alert] = (), episodes: int = 0) -> None:
        self._episodes = episodes
        self._open: dict[str, Alert] = {}
        self._by_rule: dict[str, dict[str, None]] = {}
        self._past: OrderedDict[str, Alert] = OrderedDict()
        self.forgotten = 0
        for alert in sorted(alerts, key=lambda one: one.episode):
            self.put(alert)

    def __iter__(self) -> Iterator[Alert]:
        return iter(list(self._open.values()))

    def all(self) -> Iterator[Alert]:
        """Those that are open, and those of the past that are remembered."""
        return iter([*self._open.values(), *self._past.values()])

    def __len__(self) -> int:
        return len(self._open)

    def put(self, alert: Alert) -> None:
        """Takes an alert as it now stands."""
        if alert.state != "resolved" or alert.shelf is not None or alert.flapping:
            self._past.pop(alert.id, None)
            self._open[alert.id] = alert
            self._by_rule.setdefault(alert.rule, {})[alert.id] = None
            return
        if self._open.pop(alert.id, None) is not None:
            self._forget_rule_of(alert)
        self._past[alert.id] = replace(alert, values={})
        self._past.move_to_end(alert.id)
        if len(self._past) > REMEMBERED:
            _, gone = self._past.popitem(last=False)
            self._episodes = max(self._episodes, gone.episode)
            self.forgotten += 1

    @property
    def first_episode(self) -> int:
        """The number of an alert's episode where none is remembered.

        It has to be none that the alert had before it was forgotten, or its notices would pass
        for those of then, which have been delivered.
        """
        return self._episodes + 1

    def of_rule(self, rule: str | None) -> Iterator[Alert]:
        """The open alerts of a rule; all of them where none is named."""
        if rule is None:
            return iter(list(self._open.values()))
        return (self._open[id] for id in list(self._by_rule.get(rule, ())))

    def _forget_rule_of(self, alert: Alert) -> None:
        ids = self._by_rule.get(alert.rule, {})
        ids.pop(alert.id, None)
        if not ids:
            self._by_rule.pop(alert.rule, None)

    def find(self, id: str) -> Alert | None:
        """The alert of that id, open or remembered."""
        return self._open.get(id) or self._past.get(id)

    def active(self) -> list[Alert]:
        """What is in front of somebody, worst and oldest first."""
        shown = [alert for alert in self._open.values() if alert.active]
        return sorted(shown, key=lambda one: (-one.shown_severity, one.opened, one.id))

    def get(self, text: str) -> Alert:
        """By id, by its beginning, or by name; CatcherError where none or several fit."""
        exact = self.find(text)
        if exact is not None:
            return exact
        fits = [one for one in self._open.values() if one.name == text]
        if not fits and text:
            everything = (*self._open.values(), *self._past.values())
            fits = [one for one in everything if one.id.startswith(text)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            ids = ", ".join(one.id for one in fits[:5])
            raise CatcherError(f"{len(fits)} alerts fit {text[:80]!r}", f"choose one of {ids}")
        raise CatcherError(
            f"no alert is called {text[:80]!r}", "`catcher alerts` lists the alerts with their ids"
        )
