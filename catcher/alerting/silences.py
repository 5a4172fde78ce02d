"""Silences: matching alerts are held back until it ends or they get worse than its severity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from catcher.alerting.manual_transitions import get_warning_time, validate_suppression_request
from catcher.alerting.matchers import matches_glob
from catcher.model.alert import Alert, Severity
from catcher.model.alert_operations import Silence
from catcher.model.errors import CatcherError
from catcher.model.text import sanitize_single_line
from catcher.model.time import MINUTE, Instant, humanize_instant

MAX_SILENCES = 1_000
HIT_SAVE_INTERVAL = MINUTE
"""How often the hits of a silence are stored."""


class SilenceTable:
    """The active silences, by id. Does no I/O; changed silences are returned to be stored."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._silences = {silence.id: silence for silence in silences if silence.ended is None}

    def __iter__(self) -> Iterator[Silence]:
        return iter(list(self._silences.values()))

    def __len__(self) -> int:
        return len(self._silences)

    def find_for_alert(self, alert: Alert) -> Silence | None:
        """Returns the silence that holds an alert back, the one that ends last, or None."""
        matches = [
            silence for silence in self._silences.values() if suppresses_alert(silence, alert)
        ]
        return max(matches, key=lambda silence: silence.ends_at, default=None)

    def record_hit(self, id: str, now: Instant) -> Silence | None:
        """Counts a held-back alert; returns the silence if it is to be stored now."""
        silence = self._silences.get(id)
        if silence is None:
            return None
        last_hit = silence.last
        self._silences[id] = silence = replace(silence, hits=silence.hits + 1, last=now)
        return silence if last_hit is None or now - last_hit >= HIT_SAVE_INTERVAL else None

    def create_silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, until: Instant, actor: str,
        reason: str, now: Instant,
    ) -> Silence:  # fmt: skip
        """Adds a silence; CatcherError if it lacks an end, an owner or a reason."""
        validate_suppression_request("a silence", until, actor, reason, now)
        if not name.strip():
            raise CatcherError("the silence names nothing", "name a rule, an alert or a glob")
        if len(self._silences) >= MAX_SILENCES:
            raise CatcherError(f"there are {MAX_SILENCES} silences", "end some first")
        text = f"{name}\0{sorted(labels.items())}\0{actor}\0{now}\0{len(self._silences)}"
        id = "s" + hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
        silence = Silence(
            id,
            actor,
            sanitize_single_line(reason, 1_000),
            now,
            until,
            sanitize_single_line(name, 500),
            _truncate_labels(labels),
            severity,
        )
        self._silences[id] = silence
        return silence

    def get_by_reference(self, reference: str) -> Silence:
        """Returns a silence by id or id prefix; CatcherError if none or several match."""
        matches = [
            silence
            for id, silence in self._silences.items()
            if reference and id.startswith(reference)
        ]
        if len(matches) == 1:
            return matches[0]
        problem = (
            f"{len(matches)} silences begin with" if matches else "no silence in force is called"
        )
        raise CatcherError(f"{problem} {reference[:80]!r}", "`catcher silences` lists them")

    def end_silence(self, id: str, reason: str, now: Instant) -> Silence:
        """Ends a silence."""
        return replace(self._silences.pop(id), ended=now, why=reason)

    def update(self, silence: Silence) -> Silence:
        """Stores a changed silence: warned of, or to be confirmed."""
        self._silences[silence.id] = silence
        return silence

    def list_due(self, now: Instant) -> list[Silence]:
        """Returns the silences that end, or whose warning is due."""
        return [
            silence for silence in self._silences.values() if now >= get_silence_due_time(silence)
        ]


def get_silence_due_time(silence: Silence) -> Instant:
    """Returns when a silence needs attention next."""
    return silence.ends_at if silence.warned else get_warning_time(silence.created, silence.ends_at)


def describe_expiry(silence: Silence) -> str:
    """Returns why a silence that is due ends."""
    if silence.ends_at < silence.until:
        return "nobody of the new shift confirmed it"
    return f"its time was over at {humanize_instant(silence.until)}"


def _truncate_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {
        sanitize_single_line(name, 100): sanitize_single_line(glob, 300)
        for name, glob in list(labels.items())[:20]
    }


def suppresses_alert(silence: Silence, alert: Alert) -> bool:
    """Whether a silence matches an alert that is no worse than the silence's severity."""
    if alert.display_severity > silence.severity:
        return False
    if not (matches_glob(alert.name, silence.name) or matches_glob(alert.rule, silence.name)):
        return alert.id == silence.name
    return all(
        matches_glob(alert.labels.get(name, ""), glob) for name, glob in silence.labels.items()
    )
