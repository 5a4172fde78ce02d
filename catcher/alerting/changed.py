"""What one step of alerting came to, or why it was refused."""

from __future__ import annotations

from dataclasses import dataclass

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.problem import CatcherError


@dataclass(frozen=True, slots=True)
class Changed:
    """What one step came to: alerts as they now stand, notices to send, what was done by whom."""

    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notice, ...] = ()
    audit: tuple[AuditEntry, ...] = ()


NOTHING = Changed()


class Refused(CatcherError):
    """Something that a person asked for was not done; `audit` tells who asked for what."""

    def __init__(self, error: CatcherError, audit: AuditEntry) -> None:
        super().__init__(error.message, error.hint)
        self.audit = audit
