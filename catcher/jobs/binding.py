"""Binds the arguments of a job: those that it takes, by name, with their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.jobs.inputs import InputError
from catcher.jobs.observations import Observations
from catcher.jobs.signature_checks import coerce_to_annotation
from catcher.jobs.signatures import Signature
from catcher.model.observation import Observation
from catcher.model.run import Firing


def bind_arguments(
    job: Signature,
    rule_arguments: Mapping[str, Any],
    builtin_arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns all arguments of the rule, and those of `builtin_arguments` that the job takes.

    A builtin None is passed only to a parameter without a default; `require_event_and_observation`
    has already rejected the parameters that need a value.
    """
    arguments = {
        name: coerce_to_annotation(job[name].annotation, value)
        if job.has_parameter(name)
        else value
        for name, value in rule_arguments.items()
    }
    for name, value in builtin_arguments.items():
        if (
            name not in arguments
            and job.has_parameter(name)
            and (value is not None or _is_required(job, name))
        ):
            arguments[name] = value
    return arguments


def require_event_and_observation(
    job: Signature, firing: Firing, observation: Observation | None, observations: Observations
) -> None:
    """Raises InputError if the job requires an event or observation that is missing."""
    if firing.event is None and job.has_parameter("event") and not job["event"].accepts_none:
        raise InputError(
            f"{job.name!r} needs an event, but none fired the rule",
            "annotate it `event: Event | None = None`, or fire it with an event",
        )
    if (
        observation is None
        and job.has_parameter("observation")
        and not job["observation"].accepts_none
    ):
        message, hint = observations.explain_missing(firing)
        raise InputError(f"{job.name!r} needs an observation: {message}", hint)


def _is_required(job: Signature, name: str) -> bool:
    return job[name].is_required
