"""Whatever happens to an alert, in whatever order: the written rules of its life hold.

The rules are those of the design: what latches, what un-acknowledges, what un-shelves, that
unknown is neither alarm nor all-clear, and that whoever heard of an alert hears its end.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catcher.alerting import Changed, Refused, Route
from catcher.alerting.noise import Flapping, Noise
from catcher.model.alert import Alert, Severity, alert_id
from catcher.model.rule import UnknownSpec
from catcher.model.time import HOUR, MINUTE, SECOND, Instant
from tests.alerting.making import NIGHT, NONE, WARNING, alerting, change
from tests.alerting.making import rule as making_rule

severities = st.sampled_from(Severity)
WHO = st.sampled_from(["ana", "bo"])
ID = alert_id("wind-high", "301", "")


class Life(RuleBasedStateMachine):
    """One alert at the desk: level changes, people and the clock."""

    now = 0

    @initialize(
        latch=st.sampled_from(list(Severity)[1:]),
        unknown=st.booleans(),
        flaps=st.booleans(),
        by_itself=st.booleans(),
    )
    def a_rule(self, latch: Severity, unknown: bool, flaps: bool, by_itself: bool) -> None:
        wait = UnknownSpec(WARNING, MINUTE) if unknown else None
        self.latch = latch
        self.told: list[tuple[int, int, str, str]] = []
        self.heard: dict[int, str] = {}
        self.flaps = flaps
        route = Route(
            to=("console",),
            acknowledge=10 * MINUTE if by_itself else None,
            remind=20 * MINUTE if by_itself else None,
        )
        law = Flapping(swings=2, within=5 * MINUTE, calm=2 * MINUTE) if flaps else None
        self.desk = alerting(
            making_rule(latch=latch, unknown=wait), route=route, noise=Noise(law, None)
        )

    # -- what may happen -----------------------------------------------------------------------

    @rule(seconds=st.integers(1, 700))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds // 60 + 1):
            self.now += min(seconds, 60)
            before = self.alert
            self.take(self.desk.tick(self.instant))
            after = self.alert
            if before is not None and after is not None and before.latched and not after.latched:
                assert after.acknowledgement is not None, "only somebody, or time, takes a latch"

    @rule(severity=severities, reason=st.sampled_from(["a", "b"]))
    def a_level_changes(self, severity: Severity, reason: str) -> None:
        self.now += 1
        before = self.alert
        self.take(self.desk.apply(change(severity, self.now, reason), self.instant))
        after = self.alert
        if before is None or after is None or not before.active:
            assert severity == NONE or (after is not None and after.severity == severity)
            return
        taken, shelf = before.acknowledgement, before.shelf
        if taken is not None and severity > taken.severity:
            assert after.acknowledgement is None, "worse than acknowledged"
        if before.state == "shelved" and shelf is not None and severity > shelf.severity:
            assert after.state != "shelved", "worse than shelved"
            assert shelf.who in after.aside, "and it says whose shelf it was"
        if before.latched and severity == NONE:
            assert after.active, "latched until somebody took it"
            assert after.max_severity == before.max_severity
        if not before.latched and severity == NONE:
            assert after.state == "resolved"

    @rule()
    def sight_is_lost(self) -> None:
        self.now += 1
        before = self.alert
        blind = change(NONE, self.now, "no data", unknown=True)
        self.take(self.desk.apply(blind, self.instant))
        after = self.alert
        if before is not None and before.active:
            assert after is not None and after.active, "unknown is no all-clear"
            assert after.severity == before.severity or after.severity == WARNING
        elif before is None and after is not None:
            assert after.state == "pending", "and no alarm"

    @precondition(lambda self: self.alert is not None)
    @rule(severity=severities, who=WHO)
    def somebody_acknowledges(self, severity: Severity, who: str) -> None:
        before = self.alert
        assert before is not None
        try:
            self.take(self.desk.acknowledge(ID, severity, who, "", self.instant, "cli"))
        except Refused as refusal:
            assert not before.active or before.shown_severity > severity
            assert refusal.audit.who == who and self.alert == before
            return
        after = self.alert
        assert before.active and before.shown_severity <= severity
        assert after is not None and not after.latched
        assert after.taken is not None and after.acknowledgement is not None
        assert before.severity > NONE or after.state == "resolved"

    @precondition(lambda self: self.alert is not None and self.alert.active)
    @rule(seconds=st.integers(1, 600), who=WHO)
    def somebody_shelves(self, seconds: int, who: str) -> None:
        until = self.instant + seconds * SECOND
        self.take(self.desk.shelve(ID, until, who, "known", self.instant, "cli"))
        assert self.alert is not None and self.alert.shelf is not None

    @precondition(lambda self: self.alert is not None and self.alert.active)
    @rule(to=WHO, who=WHO)
    def somebody_hands_over(self, to: str, who: str) -> None:
        self.take(self.desk.hand_over(to, who, "", self.instant, "cli"))
        assert self.alert is not None and self.alert.assignee == to

    @precondition(lambda self: self.alert is not None)
    @rule(who=WHO)
    def somebody_notes(self, who: str) -> None:
        before = self.alert
        self.take(self.desk.note(ID, "seen", who, self.instant, "cli"))
        assert before is not None and self.alert is not None
        assert self.alert.state == before.state and len(self.alert.notes) > 0

    @precondition(lambda self: self.alert is not None)
    @rule()
    def the_engine_starts_anew(self) -> None:
        """What the ledger kept is all that is needed to go on."""
        before = self.alert
        assert before is not None
        tree, rules = self.desk._desk.ways.tree, self.desk._desk.ways.rules
        self.desk = alerting(
            *rules.values(), route=tree.route, noise=tree.noise, alerts=[before],
            silences=self.desk.silences(), shift=self.desk.shift,
        )  # fmt: skip
        assert self.alert is not None and self.alert.severity == before.severity

    # -- what always holds ---------------------------------------------------------------------

    @property
    def alert(self) -> Alert | None:
        return self.desk._desk.register.find(ID)

    @property
    def instant(self) -> Instant:
        return NIGHT + self.now * SECOND

    def take(self, done: Changed) -> None:
        for notice in done.notices:
            self.told.append((notice.alert.episode, notice.sequence, notice.id, notice.kind))
            self.heard[notice.alert.thread] = notice.kind
        for entry in done.audit:
            assert entry.who and entry.channel and entry.what

    @invariant()
    def it_is_one_thing_at_a_time(self) -> None:
        alert = self.alert if hasattr(self, "desk") else None
        if alert is None:
            return
        assert alert.severity <= alert.max_severity or alert.state == "pending"
        assert (alert.state == "acknowledged") <= (alert.acknowledgement is not None)
        assert (alert.state == "shelved") <= (alert.shelf is not None)
        assert (alert.state == "resolved") == (alert.resolved is not None)
        assert alert.state not in ("resolved", "pending") or alert.severity == NONE
        assert not alert.latched or alert.max_severity >= self.latch
        assert alert.state != "pending" or alert.unknown
        assert self.flaps or not alert.flapping
        assert alert.reminds is None or alert.state == "acknowledged"
        assert alert.shelf is None or alert.shelf.until <= self.instant + HOUR

    @invariant()
    def what_is_told_is_told_once_and_in_order(self) -> None:
        if not hasattr(self, "desk"):
            return
        numbers = [(episode, sequence) for episode, sequence, _, _ in self.told]
        assert numbers == sorted(set(numbers))
        assert len({id for _, _, id, _ in self.told}) == len(self.told)

    @invariant()
    def who_heard_of_it_hears_its_end(self) -> None:
        alert = self.alert if hasattr(self, "desk") else None
        if alert is None or alert.state != "resolved" or alert.flapping or not alert.sinks:
            return
        kinds = [kind for episode, _, _, kind in self.told if episode == alert.episode]
        assert "resolved" in kinds


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_the_life_of_an_alert = Life.TestCase
