"""Which observation an event declares, and which one a firing is about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from catcher.model.event import Event
from catcher.model.observation import Observation, ObservationSpec
from catcher.model.run import Firing
from catcher.ports import Ledger

MAX_CACHED = 1000
CONFIG_LOCATION = "in catcher.yaml"


class Observations:
    """Recent observations in memory, the others in the ledger."""

    def __init__(self, specs: Mapping[str, ObservationSpec], ledger: Ledger) -> None:
        self._specs = specs
        self._ledger = ledger
        self._by_topic: dict[str, list[ObservationSpec]] = {}
        for spec in specs.values():
            self._by_topic.setdefault(spec.event, []).append(spec)
        self._cache: OrderedDict[tuple[str, str], Observation] = OrderedDict()

    @property
    def kinds(self) -> Collection[str]:
        """The observation kinds that the site declares."""
        return self._specs.keys()

    def extract_from_event(self, event: Event) -> Sequence[Observation]:
        """Returns the observations that an event declares, and caches them."""
        candidates = [
            spec.observation_from_event(event) for spec in self._by_topic.get(event.topic, ())
        ]
        observations = [candidate for candidate in candidates if candidate is not None]
        for observation in observations:
            self._add_to_cache(observation)
        return observations

    async def find_for_firing(self, firing: Firing, kind: str = "") -> Observation | None:
        """Returns the observation that a firing is about: of one kind, or of any.

        An event names its observation by the id field that the site declares; a result carries the
        fields of the event that it came from.
        """
        kinds = [kind] if kind else list(self._specs)
        for kind_name in kinds:
            observation_id = self._get_observation_id(firing, kind_name)
            observation = (
                await self._find_observation(kind_name, observation_id) if observation_id else None
            )
            if observation is not None:
                return observation
        return None

    def explain_missing(self, firing: Firing, kind: str = "") -> tuple[str, str]:
        """Returns why a firing has no observation of a kind, and what to do about it."""
        noun = kind or "observation"
        if kind and kind not in self._specs:
            return (
                f"the site declares no {kind}",
                f"declare {kind} under observations: {CONFIG_LOCATION}",
            )
        if not self._specs:
            return (
                "the site declares no observations",
                f"declare them under observations: {CONFIG_LOCATION}",
            )
        if firing.event is None:
            return f"no {noun} is known, since no event fired the rule", "fire it with an event"
        names = [self._specs[name].id for name in ([kind] if kind else self._specs)]
        values = {name: firing.event.fields.get(name) for name in names}
        values_text = ", ".join(f"{name}={value}"[:80] for name, value in values.items())
        return f"no {noun} is known for {values_text}", f"see observations: {CONFIG_LOCATION}"

    def _get_observation_id(self, firing: Firing, kind: str) -> str:
        if firing.event is None or kind not in self._specs:
            return ""
        value = firing.event.fields.get(self._specs[kind].id)
        return "" if value is None else str(value)

    async def _find_observation(self, kind: str, observation_id: str) -> Observation | None:
        cached = self._cache.get((kind, observation_id))
        return cached or await self._ledger.find_observation(kind, observation_id)

    def _add_to_cache(self, observation: Observation) -> None:
        self._cache[observation.kind, observation.id] = observation
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
