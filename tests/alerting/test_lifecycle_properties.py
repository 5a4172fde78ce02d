"""Whatever happens to an alert, in whatever order: the written rules of its life hold.

The rules are those of the design: what latches, what un-acknowledges, what un-shelves, that
unknown is neither alarm nor all-clear, and that whoever heard of an alert hears its end.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catcher.alerting import ActionRefused, AlertChanges, Route
from catcher.alerting.limits import FlappingLimit, NoiseLimits
from catcher.model.alert import Alert, Severity, compute_alert_id
from catcher.model.rule import UnknownSpec
from catcher.model.time import HOUR, MINUTE, SECOND, Instant
from tests.alerting.builders import NIGHT, NONE, WARNING, create_change, create_service
from tests.alerting.builders import create_rule as create_alert_rule

severities = st.sampled_from(Severity)
ACTORS = st.sampled_from(["ana", "bo"])
ALERT_ID = compute_alert_id("wind-high", "301", "")


class AlertLifecycle(RuleBasedStateMachine):
    """One alert at the desk: level changes, people and the clock."""

    now = 0

    @initialize(
        latch=st.sampled_from(list(Severity)[1:]),
        unknown=st.booleans(),
        flaps=st.booleans(),
        by_itself=st.booleans(),
    )
    def set_up_service(self, latch: Severity, unknown: bool, flaps: bool, by_itself: bool) -> None:
        unknown_spec = UnknownSpec(WARNING, MINUTE) if unknown else None
        self.latch = latch
        self.sent: list[tuple[int, int, str, str]] = []
        self.last_kinds: dict[int, str] = {}
        self.can_flap = flaps
        route = Route(
            to=("console",),
            acknowledge=10 * MINUTE if by_itself else None,
            remind=20 * MINUTE if by_itself else None,
        )
        flapping_limit = (
            FlappingLimit(min_flaps=2, within=5 * MINUTE, calm_after=2 * MINUTE) if flaps else None
        )
        self.service = create_service(
            create_alert_rule(latch=latch, unknown=unknown_spec),
            route=route,
            noise_limits=NoiseLimits(flapping_limit, None),
        )

    # -- what may happen -----------------------------------------------------------------------

    @rule(seconds=st.integers(1, 700))
    def advance_time(self, seconds: int) -> None:
        for _ in range(seconds // 60 + 1):
            self.now += min(seconds, 60)
            before = self.alert
            self.record_changes(self.service.tick(self.instant))
            after = self.alert
            if before is not None and after is not None and before.latched and not after.latched:
                assert after.acknowledgement is not None, "only somebody, or time, takes a latch"

    @rule(severity=severities, reason=st.sampled_from(["a", "b"]))
    def change_level(self, severity: Severity, reason: str) -> None:
        self.now += 1
        before = self.alert
        self.record_changes(
            self.service.apply_level_change(create_change(severity, self.now, reason), self.instant)
        )
        after = self.alert
        if before is None or after is None or not before.is_active:
            assert severity == NONE or (after is not None and after.severity == severity)
            return
        acknowledgement, shelving = before.acknowledgement, before.shelf
        if acknowledgement is not None and severity > acknowledgement.severity:
            assert after.acknowledgement is None, "worse than acknowledged"
        if before.state == "shelved" and shelving is not None and severity > shelving.severity:
            assert after.state != "shelved", "worse than shelved"
            assert shelving.who in after.aside, "and it says whose shelf it was"
        if before.latched and severity == NONE:
            assert after.is_active, "latched until somebody took it"
            assert after.max_severity == before.max_severity
        if not before.latched and severity == NONE:
            assert after.state == "resolved"

    @rule()
    def lose_data(self) -> None:
        self.now += 1
        before = self.alert
        unknown_change = create_change(NONE, self.now, "no data", unknown=True)
        self.record_changes(self.service.apply_level_change(unknown_change, self.instant))
        after = self.alert
        if before is not None and before.is_active:
            assert after is not None and after.is_active, "unknown is no all-clear"
            assert after.severity == before.severity or after.severity == WARNING
        elif before is None and after is not None:
            assert after.state == "pending", "and no alarm"

    @precondition(lambda self: self.alert is not None)
    @rule(severity=severities, who=ACTORS)
    def acknowledge_alert(self, severity: Severity, who: str) -> None:
        before = self.alert
        assert before is not None
        try:
            self.record_changes(
                self.service.acknowledge_alert(ALERT_ID, severity, who, "", self.instant, "cli")
            )
        except ActionRefused as refusal:
            assert not before.is_active or before.display_severity > severity
            assert refusal.audit_entry.who == who and self.alert == before
            return
        after = self.alert
        assert before.is_active and before.display_severity <= severity
        assert after is not None and not after.latched
        assert after.taken is not None and after.acknowledgement is not None
        assert before.severity > NONE or after.state == "resolved"

    @precondition(lambda self: self.alert is not None and self.alert.is_active)
    @rule(seconds=st.integers(1, 600), who=ACTORS)
    def shelve_alert(self, seconds: int, who: str) -> None:
        until = self.instant + seconds * SECOND
        self.record_changes(
            self.service.shelve_alert(ALERT_ID, until, who, "known", self.instant, "cli")
        )
        assert self.alert is not None and self.alert.shelf is not None

    @precondition(lambda self: self.alert is not None and self.alert.is_active)
    @rule(to=ACTORS, who=ACTORS)
    def hand_over_shift(self, to: str, who: str) -> None:
        self.record_changes(self.service.hand_over_shift(to, who, "", self.instant, "cli"))
        assert self.alert is not None and self.alert.assignee == to

    @precondition(lambda self: self.alert is not None)
    @rule(who=ACTORS)
    def add_comment(self, who: str) -> None:
        before = self.alert
        self.record_changes(self.service.add_comment(ALERT_ID, "seen", who, self.instant, "cli"))
        assert before is not None and self.alert is not None
        assert self.alert.state == before.state and len(self.alert.notes) > 0

    @precondition(lambda self: self.alert is not None)
    @rule()
    def restart_engine(self) -> None:
        """What the ledger kept is all that is needed to go on."""
        before = self.alert
        assert before is not None
        tree, rules = self.service._pipeline.router.route_tree, self.service._pipeline.router.rules
        self.service = create_service(
            *rules.values(), route=tree.route, noise_limits=tree.noise_limits, alerts=[before],
            silences=self.service.list_silences(), shift=self.service.shift,
        )  # fmt: skip
        assert self.alert is not None and self.alert.severity == before.severity

    # -- what always holds ---------------------------------------------------------------------

    @property
    def alert(self) -> Alert | None:
        return self.service._pipeline.alert_table.find_by_id(ALERT_ID)

    @property
    def instant(self) -> Instant:
        return NIGHT + self.now * SECOND

    def record_changes(self, changes: AlertChanges) -> None:
        for notification in changes.notifications:
            self.sent.append(
                (
                    notification.alert.episode,
                    notification.sequence,
                    notification.id,
                    notification.kind,
                )
            )
            self.last_kinds[notification.alert.thread] = notification.kind
        for entry in changes.audit:
            assert entry.who and entry.channel and entry.what

    @invariant()
    def check_state_is_consistent(self) -> None:
        alert = self.alert if hasattr(self, "service") else None
        if alert is None:
            return
        assert alert.severity <= alert.max_severity or alert.state == "pending"
        assert (alert.state == "acknowledged") <= (alert.acknowledgement is not None)
        assert (alert.state == "shelved") <= (alert.shelf is not None)
        assert (alert.state == "resolved") == (alert.resolved is not None)
        assert alert.state not in ("resolved", "pending") or alert.severity == NONE
        assert not alert.latched or alert.max_severity >= self.latch
        assert alert.state != "pending" or alert.unknown
        assert self.can_flap or not alert.flapping
        assert alert.reminds is None or alert.state == "acknowledged"
        assert alert.shelf is None or alert.shelf.until <= self.instant + HOUR

    @invariant()
    def check_sent_once_in_order(self) -> None:
        if not hasattr(self, "service"):
            return
        sequences = [(episode, sequence) for episode, sequence, _, _ in self.sent]
        assert sequences == sorted(set(sequences))
        assert len({notification_id for _, _, notification_id, _ in self.sent}) == len(self.sent)

    @invariant()
    def check_resolution_sent(self) -> None:
        alert = self.alert if hasattr(self, "service") else None
        if alert is None or alert.state != "resolved" or alert.flapping or not alert.sinks:
            return
        kinds = [kind for episode, _, _, kind in self.sent if episode == alert.episode]
        assert "resolved" in kinds


AlertLifecycle.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_alert_lifecycle = AlertLifecycle.TestCase
