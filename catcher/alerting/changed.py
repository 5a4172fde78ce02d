"""What one step of alerting came to, or why it was refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.problem import CatcherError


@dataclass(frozen=True, slots=True)
class Changed:
    """What one step came to: alerts as they now stand, notices to send, what was done by whom.

    Silences, shifts and bundles are those that are another than before.
    """

    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notice, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    silences: tuple[Silence, ...] = ()
    shifts: tuple[Shift, ...] = ()
    bundles: tuple[Bundle, ...] = ()


NOTHING = Changed()


def together(changes: Iterable[Changed]) -> Changed:
    """Several steps as one, in their order."""
    some = [one for one in changes if one is not NOTHING]
    if len(some) < 2:
        return some[0] if some else NOTHING
    return Changed(
        tuple(alert for one in some for alert in one.alerts),
        tuple(notice for one in some for notice in one.notices),
        tuple(entry for one in some for entry in one.audit),
        tuple(silence for one in some for silence in one.silences),
        tuple(shift for one in some for shift in one.shifts),
        tuple(bundle for one in some for bundle in one.bundles),
    )


def folded(notices: Sequence[Notice]) -> list[Notice]:
    """Notices of one step, where an alert that got worse twice at one instant is told once.

    `warning: always` beside `serious: …` is such a step. The later notice stands for both.
    """
    kept: dict[str, Notice] = {}
    last: dict[tuple[str, str], Notice] = {}
    for notice in notices:
        place, one = (notice.alert.id, notice.sink), notice
        before = last.get(place)
        if before is not None and _same_step(before, notice):
            del kept[before.id]
            one = replace(notice, kind=before.kind, previous=before.previous)
        last[place] = kept[one.id] = one
    return list(kept.values())


def _same_step(before: Notice, after: Notice) -> bool:
    worse = before.kind in ("opened", "raised") and after.kind == "raised"
    old, new = before.alert, after.alert
    return worse and (old.episode, old.changed) == (new.episode, new.changed)


class Refused(CatcherError):
    """Something that a person asked for was not done; `audit` tells who asked for what."""

    def __init__(self, error: CatcherError, audit: AuditEntry) -> None:
        super().__init__(error.message, error.hint)
        self.audit = audit
