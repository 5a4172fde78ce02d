"""Commands on a running engine, executed between two steps and stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from typing import Any, Protocol

from catcher.engine.alert_commands import AlertCommands, EnqueueNotifications, discard_notifications
from catcher.engine.engine import Engine
from catcher.engine.unit_of_work import UnitOfWork
from catcher.model import json_rows
from catcher.model.alert import AuditEntry
from catcher.model.errors import NotFound
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.observation import Observation, ObservationSpec
from catcher.model.run import Firing
from catcher.model.time import Instant
from catcher.ports import Row

API_CHANNEL = "api"


class EventIntake(Protocol):
    """Where posted events go in; returns how many, once they are stored."""

    async def ingest_json_events(self, payload: bytes, *, by: str = "") -> int: ...
    async def ingest_line_protocol(self, payload: bytes, precision: str, by: str = "") -> int: ...
    async def ingest_webhook(self, name: str, payload: bytes, by: str = "") -> int: ...


class EngineCommands(AlertCommands):
    """The API of a running engine (`ports.EngineApi`)."""

    def __init__(
        self,
        engine: Engine,
        intake: EventIntake,
        observations: Mapping[str, ObservationSpec],
        broken_rules: Sequence[Row],
        list_health: Callable[[], Sequence[Health]],
        enqueue_notifications: EnqueueNotifications = discard_notifications,
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._observations = observations
        self._broken_rules = broken_rules
        self._list_health = list_health
        self._channel = API_CHANNEL
        self._enqueue_notifications = enqueue_notifications

    def with_channel(self, channel: str) -> EngineCommands:
        """Returns the same API for callers of another channel, which the audit trail names."""
        commands = copy(self)
        commands._channel = channel
        return commands

    def replace_broken_rules(self, broken_rules: Sequence[Row]) -> None:
        """Replaces the list of broken rules after the site was reloaded."""
        self._broken_rules = broken_rules

    async def ingest_json_events(self, payload: bytes, by: str = "") -> int:
        """Posts events, one or a list of them, as JSON."""
        return await self._intake.ingest_json_events(payload, by=by)

    async def ingest_line_protocol(self, payload: bytes, precision: str, by: str = "") -> int:
        """Posts events as InfluxDB line protocol."""
        return await self._intake.ingest_line_protocol(payload, precision, by)

    async def ingest_webhook(self, name: str, payload: bytes, by: str = "") -> int:
        """Posts for rules with the trigger `http: NAME`."""
        return await self._intake.ingest_webhook(name, payload, by)

    async def fire_rule(
        self, rule: str, event: Event | None, observation: str, who: str, notify: bool
    ) -> Firing:
        """Fires a rule manually: a new run, marked, which notifies nobody unless `notify`.

        Raises NotFound if the rule or the observation is unknown.
        """
        if rule not in self._engine.components.rules:
            raise NotFound(
                f"no rule {rule!r} runs here", "each rule's name stands after rule: in rules/"
            )
        if observation:
            event = event_from_observation(
                await self._get_observation(observation), self._observations
            )

        def build_work(now: Instant) -> UnitOfWork:
            firing = self._engine.components.evaluator.create_manual_firing(rule, event, now, who)
            work = self._engine.apply_external_decisions([replace(firing, quiet=not notify)], now)
            detail = {"run": firing.id, "tell": notify}
            work.audit.append(AuditEntry(now, who, self._channel, "fire", rule, detail))
            return work

        return (await self._engine.submit_command(build_work)).firings[0]

    async def _get_observation(self, identity: str) -> Observation:
        for kind in self._observations:
            observation = await self._engine.components.ledger.find_observation(kind, identity)
            if observation is not None:
                return observation
        kinds = ", ".join(self._observations) or "nothing"
        raise NotFound(
            f"no observation {identity!r} is known",
            f"this site declares {kinds} under observations: in catcher.yaml; each is known "
            "from its event on",
        )

    async def record_refusal(self, who: str, what: str, subject: str, reason: str) -> None:
        """Records in the audit trail that a request was refused before it reached the engine."""

        def build_work(now: Instant) -> UnitOfWork:
            entry = AuditEntry(now, who, self._channel, what, subject, {"refused": reason})
            return UnitOfWork(audit=[entry])

        await self._engine.submit_command(build_work)

    def list_rules(self) -> Sequence[Row]:
        """Returns every rule as a row, the broken ones with their problems."""
        counts = self._engine.components.evaluator.collect_rule_counts()
        rows: list[Row] = [
            {**json_rows.rule_to_row(rule), "counts": dict(counts.get(rule.id, {})), "problems": []}
            for rule in self._engine.components.rules.values()
        ]
        return [*rows, *self._broken_rules]

    def explain_rule(self, rule: str, at: Instant | None) -> Sequence[Row]:
        """Returns the last decisions of a rule, with values and what is still missing.

        Raises NotFound if the rule does not run here.
        """
        if rule not in self._engine.components.rules:
            raise NotFound(
                f"no rule {rule!r} runs here", "each rule's name stands after rule: in rules/"
            )
        explanations = self._engine.components.evaluator.explain_rule(rule, at)
        return [_explanation_to_row(explanation) for explanation in explanations]

    def list_health(self) -> Sequence[Health]:
        """Returns the health of sources, stores, executors and sinks."""
        return self._list_health()


def _explanation_to_row(explanation: Any) -> Row:
    row: dict[str, Any] = json_rows.to_json_value(asdict(explanation))
    return {
        **row,
        "time": json_rows.format_optional_instant(explanation.time),
        "text": str(explanation),
    }


def event_from_observation(observation: Observation, specs: Mapping[str, ObservationSpec]) -> Event:
    """Returns the event that a rule sees when it is fired for a past observation."""
    spec = specs[observation.kind]
    # The site may have declared other columns when the observation was made.
    values = observation.columns
    columns = {field: values[name] for name, field in spec.columns.items() if name in values}
    duration = (observation.end - observation.start) / 1e9
    fields = {
        **columns,
        spec.id: observation.id,
        **({spec.length: duration} if spec.length else {}),
    }
    return Event(spec.event, observation.end, fields, "hand")
