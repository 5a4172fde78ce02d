"""Silences: nobody is told of what fits one, until it ends or it gets worse than the silence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from catcher.alerting.handling import check_end, warn_at
from catcher.alerting.matching import fits
from catcher.model.alert import Alert, Severity
from catcher.model.desk import Silence
from catcher.model.problem import CatcherError
from catcher.model.text import plain
from catcher.model.time import MINUTE, Instant, told_instant

MOST = 1_000
HIT_KEPT = MINUTE
"""How often it is kept that a silence held something back."""


class Silences:
    """Those in force, by id. Nothing here does I/O; what changed is given back to be kept."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._of = {one.id: one for one in silences if one.ended is None}

    def __iter__(self) -> Iterator[Silence]:
        return iter(list(self._of.values()))

    def __len__(self) -> int:
        return len(self._of)

    def over(self, alert: Alert) -> Silence | None:
        """The silence that holds an alert back, if one does: the one that ends last."""
        fit = [one for one in self._of.values() if holds_back(one, alert)]
        return max(fit, key=lambda one: one.ends, default=None)

    def hit(self, id: str, now: Instant) -> Silence | None:
        """Counts news that one held back; the silence, when that is to be kept."""
        silence = self._of.get(id)
        if silence is None:
            return None
        old = silence.last
        self._of[id] = silence = replace(silence, hits=silence.hits + 1, last=now)
        return silence if old is None or now - old >= HIT_KEPT else None

    def add(
        self, name: str, labels: Mapping[str, str], severity: Severity, until: Instant, who: str,
        reason: str, now: Instant,
    ) -> Silence:  # fmt: skip
        """A new one; CatcherError where it lacks an end, an owner or a reason."""
        check_end("a silence", until, who, reason, now)
        if not name.strip():
            raise CatcherError("the silence names nothing", "name a rule, an alert or a glob")
        if len(self._of) >= MOST:
            raise CatcherError(f"there are {MOST} silences", "end some first")
        text = f"{name}\0{sorted(labels.items())}\0{who}\0{now}\0{len(self._of)}"
        id = "s" + hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
        silence = Silence(
            id, who, plain(reason, 1_000), now, until, plain(name, 500), _bounded(labels), severity
        )
        self._of[id] = silence
        return silence

    def get(self, text: str) -> Silence:
        """By id or its beginning; CatcherError where none or several fit."""
        fit = [one for id, one in self._of.items() if text and id.startswith(text)]
        if len(fit) == 1:
            return fit[0]
        found = f"{len(fit)} silences begin with" if fit else "no silence in force is called"
        raise CatcherError(f"{found} {text[:80]!r}", "`catcher silences` lists them")

    def end(self, id: str, why: str, now: Instant) -> Silence:
        """Takes one out of force."""
        return replace(self._of.pop(id), ended=now, why=why)

    def keep(self, silence: Silence) -> Silence:
        """One that is another than before: warned of, to be confirmed."""
        self._of[silence.id] = silence
        return silence

    def due(self, now: Instant) -> list[Silence]:
        """Those that end, or of which it is to be said that they will."""
        return [one for one in self._of.values() if now >= next_look(one)]


def next_look(silence: Silence) -> Instant:
    """When to look at a silence next."""
    return silence.ends if silence.warned else warn_at(silence.created, silence.ends)


def why_over(silence: Silence) -> str:
    """Why a silence ends whose time has come."""
    if silence.ends < silence.until:
        return "nobody of the new shift confirmed it"
    return f"its time was over at {told_instant(silence.until)}"


def _bounded(labels: Mapping[str, str]) -> dict[str, str]:
    return {plain(name, 100): plain(glob, 300) for name, glob in list(labels.items())[:20]}


def holds_back(silence: Silence, alert: Alert) -> bool:
    """Whether a silence fits an alert, and is not outdone by how bad it is."""
    if alert.shown_severity > silence.severity:
        return False
    if not (fits(alert.name, silence.name) or fits(alert.rule, silence.name)):
        return alert.id == silence.name
    return all(fits(alert.labels.get(name, ""), glob) for name, glob in silence.labels.items())
