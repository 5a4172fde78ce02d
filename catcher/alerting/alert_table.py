"""The open alerts, and the latest of those resolved."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from catcher.model.alert import Alert
from catcher.model.errors import CatcherError

MAX_RESOLVED = 5_000


class AlertTable:
    """Alerts by id. The latest resolved ones are remembered, so that episode numbers continue.

    A resolved alert that is shelved is stored with the open ones: if it opens again before the
    shelving ends, it stays shelved. So is a flapping one, until it is calm. `last_episode` is the
    highest episode number of alerts that are not in `alerts`.
    """

    def __init__(self, alerts: Iterable[Alert] = (), last_episode: int = 0) -> None:
        self._last_episode = last_episode
        self._open: dict[str, Alert] = {}
        self._ids_by_rule: dict[str, dict[str, None]] = {}
        self._resolved: OrderedDict[str, Alert] = OrderedDict()
        self.evicted_count = 0
        for alert in sorted(alerts, key=lambda item: item.episode):
            self.upsert_alert(alert)

    def __iter__(self) -> Iterator[Alert]:
        return iter(list(self._open.values()))

    def iter_all(self) -> Iterator[Alert]:
        """Iterates over the open alerts, then the remembered resolved ones."""
        return iter([*self._open.values(), *self._resolved.values()])

    def __len__(self) -> int:
        return len(self._open)

    def upsert_alert(self, alert: Alert) -> None:
        """Stores the current state of an alert."""
        if alert.state != "resolved" or alert.shelf is not None or alert.flapping:
            self._resolved.pop(alert.id, None)
            self._open[alert.id] = alert
            self._ids_by_rule.setdefault(alert.rule, {})[alert.id] = None
            return
        if self._open.pop(alert.id, None) is not None:
            self._remove_from_rule_index(alert)
        self._resolved[alert.id] = replace(alert, values={})
        self._resolved.move_to_end(alert.id)
        if len(self._resolved) > MAX_RESOLVED:
            _, evicted = self._resolved.popitem(last=False)
            self._last_episode = max(self._last_episode, evicted.episode)
            self.evicted_count += 1

    @property
    def first_episode(self) -> int:
        """The number of an alert's next episode if none is remembered.

        It must be higher than any the alert had before it was evicted, or its notifications would
        have the ids of earlier ones, which have been delivered.
        """
        return self._last_episode + 1

    def iter_open_by_rule(self, rule: str | None) -> Iterator[Alert]:
        """Iterates over the open alerts of a rule, or over all of them if `rule` is None."""
        if rule is None:
            return iter(list(self._open.values()))
        return (self._open[id] for id in list(self._ids_by_rule.get(rule, ())))

    def _remove_from_rule_index(self, alert: Alert) -> None:
        ids = self._ids_by_rule.get(alert.rule, {})
        ids.pop(alert.id, None)
        if not ids:
            self._ids_by_rule.pop(alert.rule, None)

    def find_by_id(self, id: str) -> Alert | None:
        """Returns the alert with that id, open or remembered."""
        return self._open.get(id) or self._resolved.get(id)

    def list_active(self) -> list[Alert]:
        """Returns the active alerts, worst first, then oldest first."""
        active_alerts = [alert for alert in self._open.values() if alert.is_active]
        return sorted(
            active_alerts, key=lambda item: (-item.display_severity, item.opened, item.id)
        )

    def get_by_reference(self, reference: str) -> Alert:
        """Returns an alert by id, id prefix, or name.

        Raises CatcherError if none or several match.
        """
        exact_match = self.find_by_id(reference)
        if exact_match is not None:
            return exact_match
        matches = [alert for alert in self._open.values() if alert.name == reference]
        if not matches and reference:
            known_alerts = (*self._open.values(), *self._resolved.values())
            matches = [alert for alert in known_alerts if alert.id.startswith(reference)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(alert.id for alert in matches[:5])
            raise CatcherError(
                f"{len(matches)} alerts fit {reference[:80]!r}", f"choose one of {ids}"
            )
        raise CatcherError(
            f"no alert is called {reference[:80]!r}",
            "`catcher alerts` lists the alerts with their ids",
        )
