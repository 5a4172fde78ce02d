"""Messages about many alerts: groups that are told together, and the summaries of a flood.

A bundle has the form of an alert, so that every sink can show it and edit it as it changes. It
says how many alerts there are, of which rules, and how many are still open.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from catcher.alerting.agenda import Agenda
from catcher.model.alert import Alert, AlertState, Severity
from catcher.model.desk import Bundle, BundleKind
from catcher.model.text import plain
from catcher.model.time import SECOND, Instant, Span

UPDATED_EVERY: Span = 30 * SECOND
"""A bundle that was told is told anew at most so often."""
_MOST_NAMED, _MOST_RULES, _MOST_OVER, _LONGEST_NAME = 10, 8, 5_000, 60
Find = Callable[[str], Alert | None]


class Bundles:
    """The bundles that are open, with their members."""

    def __init__(self) -> None:
        self._of: dict[str, Bundle] = {}
        self._keys: dict[tuple[BundleKind, str], str] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._agenda = Agenda()

    def __iter__(self) -> Iterator[Bundle]:
        return iter(list(self._of.values()))

    def __len__(self) -> int:
        return len(self._of)

    def restore(self, bundles: Iterable[Bundle], alerts: Iterable[Alert]) -> None:
        """Takes back what was open; members are the alerts that name their bundle.

        Those that are over count, too: a message that is the same is not told again.
        """
        for bundle in bundles:
            if not bundle.over:
                self._of[bundle.id] = bundle
                self._keys[bundle.kind, bundle.key] = bundle.id
                self._members[bundle.id] = {}
                told = bundle.told
                self._agenda.put(bundle.id, 0 if told is None else told + UPDATED_EVERY)
        for alert in alerts:
            for id in alert.bundles.values():
                if id in self._members:
                    self._members[id][alert.id] = None
        for id, members in self._members.items():
            # Those that came after it was told last were not kept with it.
            joined = max(self._of[id].joined, len(members))
            self._of[id] = replace(self._of[id], joined=joined)

    def find(self, id: str) -> Bundle | None:
        """An open bundle by its id."""
        return self._of.get(id)

    def members(self, id: str) -> list[str]:
        """The ids of the alerts in a bundle."""
        return list(self._members.get(id, ()))

    def join(
        self, kind: BundleKind, key: str, sinks: Iterable[str], alert: Alert, now: Instant,
        wait: Span, repeat: Span | None, fallback: tuple[Span, tuple[str, ...]] | None = None,
    ) -> str:  # fmt: skip
        """Puts an alert into the open bundle of a key, or into a new one; the bundle's id."""
        id = self._keys.get((kind, key), "")
        bundle = self._of.get(id)
        if bundle is None:
            bundle = _begin(kind, key, now, wait, repeat, fallback)
            id = self._keys[kind, key] = bundle.id
            self._members[id] = {}
        known = alert.id in self._members[id]
        self._of[id] = replace(
            bundle,
            sinks=tuple(dict.fromkeys((*bundle.sinks, *sinks))),
            joined=bundle.joined + (not known),
        )
        self._members[id][alert.id] = None
        self._plan(self._of[id], now)
        return id

    def touch(self, alert: Alert, now: Instant) -> None:
        """An alert of some bundles is another than before: they are to be told anew."""
        for id in dict.fromkeys(alert.bundles.values()):
            if id in self._of:
                self._plan(self._of[id], now)

    def leave(self, id: str, alert: str, now: Instant) -> None:
        """An alert is told by itself from now on."""
        if self._members.get(id, {}).pop(alert, 0) is None and id in self._of:
            bundle = self._of[id]
            self._of[id] = replace(bundle, joined=bundle.joined - 1)
            self._plan(bundle, now)

    def due(self, now: Instant) -> list[str]:
        """The ids of bundles whose time to be told has come."""
        return [id for id in self._agenda.take(now) if id in self._of]

    def put(self, bundle: Bundle) -> None:
        """Takes a bundle as it was told."""
        if bundle.id in self._of:
            self._of[bundle.id] = bundle

    def drop(self, id: str) -> None:
        """Forgets a bundle that nobody was told of."""
        bundle = self._of.pop(id)
        self._members.pop(id, None)
        self._keys.pop((bundle.kind, bundle.key), None)
        self._agenda.put(id, None)

    def tell(self, id: str, find: Find, now: Instant, over: bool = False) -> Bundle | None:
        """The bundle as it is told now, under a new number; None where it says nothing new."""
        bundle = self._of[id]
        members = [alert for one in self._members[id] if (alert := find(one)) is not None]
        new = _described(bundle, members, now, over)
        same = (new.reason, new.severity, new.state) == (
            bundle.alert.reason, bundle.alert.severity, bundle.alert.state,
        )  # fmt: skip
        repeats = bundle.repeat and bundle.told is not None and now >= bundle.told + bundle.repeat
        if same and bundle.told is not None and not (repeats and new.state == "firing"):
            self._plan_repeat(bundle)
            return None
        if len(self._members[id]) > _MOST_OVER:
            self._members[id] = {one.id: None for one in members if one.active}
        bundle = replace(bundle, alert=replace(new, sequence=new.sequence + 1), told=now)
        if bundle.over:
            self.drop(id)
        else:
            self._of[id] = bundle
            self._plan_repeat(bundle)
        return bundle

    def _plan(self, bundle: Bundle, now: Instant) -> None:
        if bundle.told is None:
            self._agenda.put(bundle.id, bundle.alert.opened + bundle.wait)
        else:
            self._agenda.put(bundle.id, max(now, bundle.told + UPDATED_EVERY))

    def _plan_repeat(self, bundle: Bundle) -> None:
        again = bundle.told + bundle.repeat if bundle.told is not None and bundle.repeat else None
        self._agenda.put(bundle.id, again)


def _begin(
    kind: BundleKind, key: str, now: Instant, wait: Span, repeat: Span | None,
    fallback: tuple[Span, tuple[str, ...]] | None,
) -> Bundle:  # fmt: skip
    digest = hashlib.blake2b(f"{kind}\0{key}\0{now}".encode("utf-8", "replace"), digest_size=6)
    title = key.partition(": ")[2] if kind == "group" else ""
    alert = Alert(
        id=digest.hexdigest(), rule=kind, key=title, per="", episode=1, thread=1, state="firing",
        severity=Severity.NONE, max_severity=Severity.NONE, opened=now, changed=now, reason="",
        since=now, worst_since=now, appeared=now,
    )  # fmt: skip
    return Bundle(kind, alert, (), key, wait=wait, repeat=repeat, fallback=fallback)


def _described(bundle: Bundle, members: list[Alert], now: Instant, over: bool) -> Alert:
    """The message of a bundle: how many, of which rules, how bad, how many are open."""
    standing = [one for one in members if one.active]
    worst = max((one.shown_severity for one in standing), default=Severity.NONE)
    taken = sum(one.state != "firing" for one in standing)
    state: AlertState = "firing"
    if over or not standing:
        state = "resolved"
    elif taken == len(standing):
        state = "acknowledged"
    words = _words(bundle, members, standing, taken)
    alert = bundle.alert
    return replace(
        alert,
        state=state,
        severity=Severity.NONE if state == "resolved" else worst,
        max_severity=max(alert.max_severity, worst),
        reason=words,
        message=words,
        resolved=now if state == "resolved" else None,
        changed=now,
        since=now if worst != alert.severity else alert.since,
        worst_since=now if worst > alert.max_severity else alert.worst_since,
        data_time=max((one.data_time for one in members if one.data_time), default=None),
        values={"alerts": bundle.joined, "open": len(standing)},
    )


def _words(bundle: Bundle, members: list[Alert], standing: list[Alert], taken: int) -> str:
    rules = Counter(one.rule for one in members)
    of_rules = [f"{count} {rule}" for rule, count in rules.most_common(_MOST_RULES)]
    if len(rules) > _MOST_RULES:
        of_rules.append(f"{len(rules) - _MOST_RULES} more rules")
    severities = Counter(one.shown_severity for one in standing)
    graded = [f"{severities[one]} {one}" for one in sorted(severities, reverse=True)]
    what = "alerts in a flood, told together" if bundle.kind == "flood" else "alerts"
    parts = [f"{bundle.joined} {what}: {', '.join(of_rules)}"]
    parts.append(f"{len(standing)} open ({', '.join(graded)})" if standing else "all are over")
    if taken:
        parts.append(f"{taken} taken or shelved")
    named = sorted(standing, key=lambda one: (-one.shown_severity, one.opened, one.id))
    names = ", ".join(plain(one.name, _LONGEST_NAME) for one in named[:_MOST_NAMED])
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return "; ".join(parts) + (f": {names}{more}" if names else "")
