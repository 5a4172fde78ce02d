"""What one step of alerting came to, or why it was refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


class Refused(CatcherError):
    """Something that a person asked for was not done; `audit` tells who asked for what."""

    def __init__(self, error: CatcherError, audit: AuditEntry) -> None:
        super().__init__(error.message, error.hint)
        self.audit = audit
