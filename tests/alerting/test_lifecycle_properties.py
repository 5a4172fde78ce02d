"""Whatever happens to an alert, in whatever order: the written rules of its life hold."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catcher.alerting import handling, lifecycle
from catcher.model.alert import Alert, Severity
from catcher.model.problem import CatcherError
from catcher.model.rule import AlertSpec, UnknownSpec
from catcher.model.time import MINUTE, SECOND
from tests.alerting.making import NIGHT, NONE, WARNING, change

severities = st.sampled_from(Severity)


class Life(RuleBasedStateMachine):
    """One alert, level changes, people and the clock."""

    alert: Alert | None = None
    now = 0

    @initialize(latch=st.sampled_from(list(Severity)[1:]), unknown=st.booleans())
    def a_rule(self, latch: Severity, unknown: bool) -> None:
        wait = UnknownSpec(WARNING, MINUTE) if unknown else None
        self.spec = AlertSpec(levels={}, latch=latch, unknown=wait)

    @rule(seconds=st.integers(1, 120))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        if self.alert is not None:
            self.become(lifecycle.miss(self.alert, self.spec, self.instant)[0])
            assert self.alert is not None
            self.become(handling.expire(self.alert, self.instant)[0])

    @rule(severity=severities, reason=st.sampled_from(["a", "b"]))
    def a_level_changes(self, severity: Severity, reason: str) -> None:
        before = self.alert
        self.become(
            lifecycle.judge(before, change(severity, self.now, reason), self.spec, self.instant)[0]
        )
        if before is None or self.alert is None:
            return
        taken, shelf = before.acknowledgement, before.shelf
        if before.active and taken is not None and severity > taken.severity:
            assert self.alert.acknowledgement is None, "worse than acknowledged"
        if before.state == "shelved" and shelf is not None and severity > shelf.severity:
            assert self.alert.state != "shelved", "worse than shelved"
        if before.latched and severity == NONE:
            assert self.alert.active, "latched until somebody took it"

    @rule()
    def sight_is_lost(self) -> None:
        before = self.alert
        blind = change(NONE, self.now, "no data", unknown=True)
        self.become(lifecycle.judge(before, blind, self.spec, self.instant)[0])
        if before is not None and before.active:
            assert self.alert is not None and self.alert.active, "unknown is no all-clear"

    @precondition(lambda self: self.alert is not None)
    @rule(severity=severities)
    def somebody_acknowledges(self, severity: Severity) -> None:
        before = self.alert
        assert before is not None
        try:
            self.become(handling.acknowledge(before, severity, "ana", "", self.instant)[0])
        except CatcherError:
            assert not before.active or before.shown_severity > severity
            return
        assert before.active and before.shown_severity <= severity
        assert self.alert is not None and not self.alert.latched

    @precondition(lambda self: self.alert is not None and self.alert.active)
    @rule(seconds=st.integers(1, 600))
    def somebody_shelves(self, seconds: int) -> None:
        assert self.alert is not None
        until = self.instant + seconds * SECOND
        self.become(handling.shelve(self.alert, until, "ana", "known", self.instant)[0])

    @property
    def instant(self) -> int:
        return NIGHT + self.now * SECOND

    def become(self, alert: Alert | None) -> None:
        if self.alert is not None and alert is not None and alert != self.alert:
            old, new = self.alert, alert
            same = (old.episode, old.sequence) == (new.episode, new.sequence)
            told_apart = (new.episode, new.sequence) > (old.episode, old.sequence)
            assert told_apart or (same and new.state == old.state), "each change has its number"
        self.alert = alert

    @invariant()
    def it_is_one_thing_at_a_time(self) -> None:
        alert = self.alert
        if alert is None:
            return
        assert alert.severity <= alert.max_severity or alert.state == "pending"
        assert (alert.state == "acknowledged") <= (alert.acknowledgement is not None)
        assert (alert.state == "shelved") <= (alert.shelf is not None)
        assert (alert.state == "resolved") == (alert.resolved is not None)
        assert alert.state not in ("resolved", "pending") or alert.severity == NONE
        assert not alert.latched or alert.max_severity >= self.spec.latch
        assert alert.state != "pending" or alert.unknown


Life.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
test_the_life_of_an_alert = Life.TestCase
