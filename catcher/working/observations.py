"""Which observation an event declares, and which one a firing is about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from catcher.model.event import Event
from catcher.model.observation import Observation, ObservationSpec
from catcher.model.run import Firing
from catcher.ports import Ledger

REMEMBERED = 1000
PLACE = "in catcher.yaml"


class Observations:
    """The observations of late in memory, the others in the ledger."""

    def __init__(self, specs: Mapping[str, ObservationSpec], ledger: Ledger) -> None:
        self._specs = specs
        self._ledger = ledger
        self._by_topic: dict[str, list[ObservationSpec]] = {}
        for spec in specs.values():
            self._by_topic.setdefault(spec.event, []).append(spec)
        self._recent: OrderedDict[tuple[str, str], Observation] = OrderedDict()

    @property
    def kinds(self) -> Collection[str]:
        """The kinds that the site declares."""
        return self._specs.keys()

    def note(self, event: Event) -> Sequence[Observation]:
        """The observations that an event declares, remembered from now on."""
        found = [spec.observe(event) for spec in self._by_topic.get(event.topic, ())]
        observations = [one for one in found if one is not None]
        for observation in observations:
            self._remember(observation)
        return observations

    async def of(self, firing: Firing, kind: str = "") -> Observation | None:
        """The observation that a firing is about: of one kind, or of any.

        An event names its observation by the id field that the site declares; a result carries
        the fields of the event that it came from.
        """
        kinds = [kind] if kind else list(self._specs)
        for name in kinds:
            identity = self._identity(firing, name)
            found = await self._find(name, identity) if identity else None
            if found is not None:
                return found
        return None

    def unknown(self, firing: Firing, kind: str = "") -> tuple[str, str]:
        """In words why a firing has no observation of a kind, and what to do about it."""
        what = kind or "observation"
        if kind and kind not in self._specs:
            return f"the site declares no {kind}", f"declare {kind} under observations: {PLACE}"
        if not self._specs:
            return "the site declares no observations", f"declare them under observations: {PLACE}"
        if firing.event is None:
            return f"no {what} is known, since no event fired the rule", "fire it with an event"
        names = [self._specs[name].id for name in ([kind] if kind else self._specs)]
        values = {name: firing.event.fields.get(name) for name in names}
        named = ", ".join(f"{name}={value}"[:80] for name, value in values.items())
        return f"no {what} is known for {named}", f"see observations: {PLACE}"

    def _identity(self, firing: Firing, kind: str) -> str:
        if firing.event is None or kind not in self._specs:
            return ""
        value = firing.event.fields.get(self._specs[kind].id)
        return "" if value is None else str(value)

    async def _find(self, kind: str, identity: str) -> Observation | None:
        recent = self._recent.get((kind, identity))
        return recent or await self._ledger.observation(kind, identity)

    def _remember(self, observation: Observation) -> None:
        self._recent[observation.kind, observation.id] = observation
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
