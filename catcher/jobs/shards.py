"""The shards of a run with `each`: an image's detectors, or a night's observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catcher.jobs.inputs import InputError
from catcher.jobs.runner import JobRunner, get_retry_delay
from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.model.rule import DETECTOR
from catcher.model.run import Run
from catcher.model.time import HOUR, format_duration
from catcher.ports import Query, StoreUnavailable

SINGLE_SHARD = "all"
"""The name of the single shard if a site's images are not split."""
DEFAULT_LOOKBACK = 24 * HOUR
MAX_OBSERVATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: its name and observation. `run_states` is how runs about it ended, by rule."""

    name: str
    observation: Observation
    run_states: Mapping[str, str] = field(default_factory=dict)


async def list_shards(
    runner: JobRunner, run: Run, observation: Observation | None
) -> Sequence[Shard]:
    """Returns the shards of a run. Raises InputError if there is nothing to split.

    Detectors are listed again as often as the job may be retried; a night may have no observations.
    """
    if runner.spec.each != DETECTOR:
        kinds = runner.context.observations.kinds
        if runner.spec.each in kinds:
            return await _list_observation_shards(runner, run)
    if observation is None:
        message, hint = runner.context.observations.explain_missing(run.firing)
        raise InputError(f"there are no parts: {message}", hint)
    return [Shard(name, observation) for name in await _wait_for_detectors(runner, observation)]


async def get_shard(runner: JobRunner, name: str, observation: Observation | None) -> Shard:
    """Returns one shard by its name, as it was before."""
    context, kind = runner.context, runner.spec.each
    if kind in context.observations.kinds:
        shard_observation = await context.retry_until_available(
            lambda: context.ledger.find_observation(kind, name)
        )
        if shard_observation is None:
            raise InputError(f"the ledger has no {kind} {name} any more")
        run_states = await context.retry_until_available(
            lambda: context.ledger.get_latest_run_states([name])
        )
        return Shard(name, shard_observation, run_states.get(name, {}))
    if observation is None:
        raise InputError("what it is a part of is not known any more")
    return Shard(name, observation)


async def _list_observation_shards(runner: JobRunner, run: Run) -> list[Shard]:
    """Returns the observations that began within `last` before the firing, in order."""
    ledger, kind = runner.context.ledger, runner.spec.each
    last, now = runner.spec.last or DEFAULT_LOOKBACK, run.firing.time
    query = Query(name=kind, start=now - last + 1, end=now, limit=MAX_OBSERVATIONS + 1)
    observations = await runner.context.retry_until_available(
        lambda: ledger.list_observations(query)
    )
    if len(observations) > MAX_OBSERVATIONS:
        message = f"there are more than {MAX_OBSERVATIONS} of {kind} in {format_duration(last)}"
        raise InputError(message, "give the job a shorter `last`")
    ids = [observation.id for observation in observations]
    run_states = await runner.context.retry_until_available(
        lambda: ledger.get_latest_run_states(ids)
    )
    return [
        Shard(observation.id, observation, run_states.get(observation.id, {}))
        for observation in reversed(observations)
    ]


async def _wait_for_detectors(runner: JobRunner, observation: Observation) -> Sequence[str]:
    spec, context = runner.spec, runner.context
    for attempt in range(spec.retry + 1):
        if attempt:
            await context.sleep(get_retry_delay(attempt))
        names = await _list_shard_names(runner, observation)
        if names:
            return names
    message = f"no {spec.each} of {observation.kind} {observation.id} has an image"
    raise InputError(message, f"it was looked for at {observation.image or 'no address'}")


async def _list_shard_names(runner: JobRunner, observation: Observation) -> Sequence[str]:
    images = runner.context.images
    if images is None:
        return ()
    names = await images.list_detectors(observation)
    if names:
        return names
    try:
        await images.find_image_path(observation)
    except StoreUnavailable:
        raise
    except CatcherError:
        return ()
    return (SINGLE_SHARD,)


async def list_image_detectors(runner: JobRunner, observation: Observation) -> Sequence[str]:
    """Returns the detectors with an image of an observation; waits for an unavailable store."""
    return tuple(
        await runner.context.retry_until_available(lambda: _list_shard_names(runner, observation))
    )
