"""What people and programs do to a running engine, carried out between two steps and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from typing import Any, Protocol

from catcher.desk_hands import DeskHands, Resend, to_nobody
from catcher.engine import Engine
from catcher.model import shown
from catcher.model.alert import AuditEntry
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.observation import Observation, ObservationSpec
from catcher.model.problem import Unknown
from catcher.model.run import Firing
from catcher.model.time import Instant
from catcher.ports import Row
from catcher.steps import Decided

CHANNEL = "api"


class Postbox(Protocol):
    """Where posted events go in; returns how many, once they are kept."""

    async def post(self, payload: bytes, *, by: str = "") -> int: ...
    async def post_lines(self, payload: bytes, precision: str, by: str = "") -> int: ...
    async def post_named(self, name: str, payload: bytes, by: str = "") -> int: ...


class Hands(DeskHands):
    """The door of a running engine (`ports.Door`)."""

    def __init__(
        self,
        engine: Engine,
        postbox: Postbox,
        observations: Mapping[str, ObservationSpec],
        broken: Sequence[Row],
        healths: Callable[[], Sequence[Health]],
        resend: Resend = to_nobody,
    ) -> None:
        self._engine = engine
        self._postbox = postbox
        self._observations = observations
        self._broken = broken
        self._healths = healths
        self._channel = CHANNEL
        self._resend = resend

    def through(self, channel: str) -> Hands:
        """The same door, for those who come by another way; the audit trail names it."""
        other = copy(self)
        other._channel = channel
        return other

    def swap(self, broken: Sequence[Row]) -> None:
        """The site was read anew: these are its broken rules now."""
        self._broken = broken

    async def post(self, payload: bytes, by: str = "") -> int:
        """Posts events, one or a list of them, as JSON."""
        return await self._postbox.post(payload, by=by)

    async def post_lines(self, payload: bytes, precision: str, by: str = "") -> int:
        """Posts events as InfluxDB line protocol."""
        return await self._postbox.post_lines(payload, precision, by)

    async def post_named(self, name: str, payload: bytes, by: str = "") -> int:
        """Posts for rules with the trigger `http: NAME`."""
        return await self._postbox.post_named(name, payload, by)

    async def fire(
        self, rule: str, event: Event | None, observation: str, who: str, tell: bool
    ) -> Firing:
        """Fires a rule by hand: a new run, marked, which tells nobody unless asked to."""
        if rule not in self._engine.parts.rules:
            raise Unknown(
                f"no rule {rule!r} runs here", "each rule's name stands after rule: in rules/"
            )
        if observation:
            event = event_of(await self._find(observation), self._observations)

        def act(now: Instant) -> Decided:
            firing = self._engine.parts.network.by_hand(rule, event, now, who)
            decided = self._engine.weigh([replace(firing, quiet=not tell)], now)
            detail = {"run": firing.id, "tell": tell}
            decided.audit.append(AuditEntry(now, who, self._channel, "fire", rule, detail))
            return decided

        return (await self._engine.do(act)).firings[0]

    async def _find(self, identity: str) -> Observation:
        for kind in self._observations:
            found = await self._engine.parts.ledger.observation(kind, identity)
            if found is not None:
                return found
        kinds = ", ".join(self._observations) or "nothing"
        raise Unknown(
            f"no observation {identity!r} is known",
            f"this site declares {kinds} under observations: in catcher.yaml; each is known "
            "from its event on",
        )

    async def refuse(self, who: str, what: str, subject: str, reason: str) -> None:
        """Puts into the audit trail that somebody was turned away before this door."""

        def act(now: Instant) -> Decided:
            entry = AuditEntry(now, who, self._channel, what, subject, {"refused": reason})
            return Decided(audit=[entry])

        await self._engine.do(act)

    def rules(self) -> Sequence[Row]:
        """Every rule as a row, the broken ones with their problems."""
        counts = self._engine.parts.network.counts()
        rows: list[Row] = [
            {**shown.rule_row(rule), "counts": dict(counts.get(rule.id, {})), "problems": []}
            for rule in self._engine.parts.rules.values()
        ]
        return [*rows, *self._broken]

    def explain(self, rule: str, at: Instant | None) -> Sequence[Row]:
        """The last decisions of a rule, with values and what is still missing."""
        if rule not in self._engine.parts.rules:
            raise Unknown(
                f"no rule {rule!r} runs here", "each rule's name stands after rule: in rules/"
            )
        found = self._engine.parts.network.explain(rule, at)
        return [_explanation_row(one) for one in found]

    def health(self) -> Sequence[Health]:
        """How sources, stores, executors and sinks are doing."""
        return self._healths()


def _explanation_row(explanation: Any) -> Row:
    row: dict[str, Any] = shown.plain(asdict(explanation))
    return {**row, "time": shown.instant(explanation.time), "text": str(explanation)}


def event_of(observation: Observation, specs: Mapping[str, ObservationSpec]) -> Event:
    """The event that a rule sees when it is fired for an observation of the past."""
    spec = specs[observation.kind]
    # The site may have declared other columns when the observation was made.
    known = observation.columns
    columns = {field: known[name] for name, field in spec.columns.items() if name in known}
    length = (observation.end - observation.start) / 1e9
    fields = {**columns, spec.id: observation.id, **({spec.length: length} if spec.length else {})}
    return Event(spec.event, observation.end, fields, "hand")
