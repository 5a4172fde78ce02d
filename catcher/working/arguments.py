"""Which arguments a job gets: those that it takes, under their names, as it wants them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.observation import Observation
from catcher.model.run import Firing
from catcher.working.fitting import fitted
from catcher.working.inputs import InputError
from catcher.working.observations import Observations
from catcher.working.signatures import Signature


def bound(
    job: Signature,
    given: Mapping[str, Any],
    offered: Mapping[str, Any],
) -> dict[str, Any]:
    """What a rule gives, all of it, and of what is offered that which the job names.

    An offer of None goes only to a parameter that can do without; InputError from `required`
    names the others before.
    """
    arguments = {
        name: fitted(job[name].annotation, value) if job.names(name) else value
        for name, value in given.items()
    }
    for name, value in offered.items():
        if name not in arguments and job.names(name) and (value is not None or _bare(job, name)):
            arguments[name] = value
    return arguments


def require(
    job: Signature, firing: Firing, observation: Observation | None, observations: Observations
) -> None:
    """InputError where the job cannot do without an event or observation that isn't there."""
    if firing.event is None and job.names("event") and not job["event"].optional:
        raise InputError(
            f"{job.name!r} needs an event, but none fired the rule",
            "annotate it `event: Event | None = None`, or fire it with an event",
        )
    if observation is None and job.names("observation") and not job["observation"].optional:
        message, hint = observations.unknown(firing)
        raise InputError(f"{job.name!r} needs an observation: {message}", hint)


def _bare(job: Signature, name: str) -> bool:
    return job[name].required
