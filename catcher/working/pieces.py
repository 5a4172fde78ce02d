"""Into which parts a run with `each` falls: an image's detectors, or a night's observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.rule import DETECTOR
from catcher.model.run import Run
from catcher.model.time import HOUR, format_duration
from catcher.ports import Query, StoreAway
from catcher.working.inputs import InputError
from catcher.working.performing import Performer, pause_before

ONLY = "all"
"""The name of the one part where the images of a site are not split."""
A_DAY = 24 * HOUR
MOST_OBSERVATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: its name and what it is about. `runs` is how runs about it ended, by rule."""

    name: str
    about: Observation
    runs: Mapping[str, str] = field(default_factory=dict)


async def pieces_of(performer: Performer, run: Run, about: Observation | None) -> Sequence[Piece]:
    """The parts of a run. InputError where there is nothing to have parts of.

    Detectors are looked for again as often as the job may be retried; of a night's observations
    there may be none.
    """
    if performer.spec.each != DETECTOR:
        kinds = performer.bench.observations.kinds
        if performer.spec.each in kinds:
            return await _observations(performer, run)
    if about is None:
        message, hint = performer.bench.observations.unknown(run.firing)
        raise InputError(f"there are no parts: {message}", hint)
    return [Piece(name, about) for name in await _detectors(performer, about)]


async def piece_of(performer: Performer, name: str, about: Observation | None) -> Piece:
    """One part by its name, as it was before."""
    bench, kind = performer.bench, performer.spec.each
    if kind in bench.observations.kinds:
        found = await bench.insist(lambda: bench.ledger.observation(kind, name))
        if found is None:
            raise InputError(f"the ledger has no {kind} {name} any more")
        known = await bench.insist(lambda: bench.ledger.outcomes([name]))
        return Piece(name, found, known.get(name, {}))
    if about is None:
        raise InputError("what it is a part of is not known any more")
    return Piece(name, about)


async def _observations(performer: Performer, run: Run) -> list[Piece]:
    """Those that began within `last` before the firing, in their order."""
    ledger, kind = performer.bench.ledger, performer.spec.each
    last, now = performer.spec.last or A_DAY, run.firing.time
    query = Query(name=kind, start=now - last + 1, end=now, limit=MOST_OBSERVATIONS + 1)
    found = await performer.bench.insist(lambda: ledger.observations(query))
    if len(found) > MOST_OBSERVATIONS:
        message = f"there are more than {MOST_OBSERVATIONS} of {kind} in {format_duration(last)}"
        raise InputError(message, "give the job a shorter `last`")
    names = [one.id for one in found]
    known = await performer.bench.insist(lambda: ledger.outcomes(names))
    return [Piece(one.id, one, known.get(one.id, {})) for one in reversed(found)]


async def _detectors(performer: Performer, about: Observation) -> Sequence[str]:
    spec, bench = performer.spec, performer.bench
    for attempt in range(spec.retry + 1):
        if attempt:
            await bench.pause(pause_before(attempt))
        names = await _split(performer, about)
        if names:
            return names
    message = f"no {spec.each} of {about.kind} {about.id} has an image"
    raise InputError(message, f"it was looked for at {about.image or 'no address'}")


async def _split(performer: Performer, about: Observation) -> Sequence[str]:
    images = performer.bench.images
    if images is None:
        return ()
    names = await images.parts(about)
    if names:
        return names
    try:
        await images.find(about)
    except StoreAway:
        raise
    except CatcherError:
        return ()
    return (ONLY,)


async def images_of(performer: Performer, about: Observation) -> Sequence[str]:
    """The detectors that have an image of an observation now; asked until the store answers."""
    return tuple(await performer.bench.insist(lambda: _split(performer, about)))
