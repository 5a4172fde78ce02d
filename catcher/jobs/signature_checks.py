"""Checks a rule's arguments against the signature of its job."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from catcher.jobs.signatures import Parameter, Signature
from catcher.model.rule import DETECTOR, InputSpec, JobSpec

METRICS_ARGUMENT = "metrics"
"""The argument with the metrics to compute while the cluster is unavailable, or None for all."""
BUILTIN_ARGUMENTS = ("event", "observation", METRICS_ARGUMENT)
"""The arguments that every job may take without the rule giving them."""
RUNS_ARGUMENT = "runs"
"""With `each` over observations: how the runs about it ended, by rule; for `gather` by part."""
IMAGES_ARGUMENT = "images"
"""With `each` over observations: the detectors with an image of it now; `all` if unsplit."""
GATHER_ARGUMENTS = ("parts", "missing")
"""Further arguments of a gather job: the results by part, and the parts without one."""
Mismatch = tuple[str, str]


def _is_whole_number(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


_TYPE_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "int": _is_whole_number,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
}


def find_argument_mismatches(
    spec: JobSpec, signatures: Mapping[str, Signature]
) -> Iterator[Mismatch]:
    """Yields the mismatches between a rule's job and the signatures, as message and hint."""
    run_arguments = (RUNS_ARGUMENT,) if spec.each and spec.each != DETECTOR else ()
    if spec.run in signatures:
        part_arguments = (
            (IMAGES_ARGUMENT, spec.each) if run_arguments else (spec.each,) if spec.each else ()
        )
        available = (*BUILTIN_ARGUMENTS, *run_arguments, *part_arguments)
        yield from _check_arguments(signatures[spec.run], spec.inputs, spec.arguments, available)
    if spec.gather is not None and spec.gather.run in signatures:
        signature = signatures[spec.gather.run]
        yield from _check_arguments(
            signature,
            {},
            spec.gather.arguments,
            (*BUILTIN_ARGUMENTS, *GATHER_ARGUMENTS, *run_arguments),
        )
        if not spec.each:
            yield "`gather` has nothing to gather", "say `each: detector`, or drop `gather`"


def _check_arguments(
    job: Signature,
    inputs: Mapping[str, InputSpec],
    constants: Mapping[str, Any],
    available: tuple[str, ...],
) -> Iterator[Mismatch]:
    yield from _check_unknown_arguments(job, inputs, "inputs")
    yield from _check_unknown_arguments(job, constants, "with")
    for name in sorted(inputs.keys() & constants.keys()):
        yield f"{name!r} is given by `inputs` and by `with`", "drop one of them"
    provided = {*inputs, *constants, *available}
    for parameter in job.parameters:
        if parameter.is_required and parameter.name not in provided:
            hint = f"give it under `inputs` or `with`: {_format_signature(job)}"
            yield f"the job {job.name!r} needs the argument {parameter.name!r}", hint
    for name, spec in inputs.items():
        if job.has_parameter(name):
            yield from _check_input(job, job[name], spec)
    for name, value in constants.items():
        if job.has_parameter(name):
            yield from _check_constant(job, job[name], value)


def _check_unknown_arguments(
    job: Signature, arguments: Mapping[str, object], section: str
) -> Iterator[Mismatch]:
    for name in arguments:
        if not job.accepts_argument(name):
            suggestions = get_close_matches(
                name, [parameter.name for parameter in job.parameters], 1
            )
            hint = (
                f"did you mean {suggestions[0]!r}?"
                if suggestions
                else f"it takes {_format_signature(job)}"
            )
            yield f"the job {job.name!r} takes no argument {name!r} (under `{section}`)", hint


def _format_signature(job: Signature) -> str:
    return f"{job.name}({', '.join(parameter.name for parameter in job.parameters)})"


def _check_input(job: Signature, parameter: Parameter, spec: InputSpec) -> Iterator[Mismatch]:
    input_type = "Path" if spec.image else "Series"
    accepted_types = {"Path": {"Path", "str"}, "Series": {"Series"}}[input_type]
    annotation_types = set(split_union(parameter.annotation))
    known_types = {"Path", "Series", "Event", "Observation", *_TYPE_CHECKS} - {"None"}
    if (
        annotation_types
        and annotation_types <= known_types | {"None"}
        and not annotation_types & accepted_types
    ):
        yield (
            f"{job.name!r} takes {parameter.name!r} as {parameter.annotation}, "
            f"but the input gives a {input_type}",
            f"annotate it {input_type}, or ask for something else",
        )


def _check_constant(job: Signature, parameter: Parameter, value: object) -> Iterator[Mismatch]:
    if not matches_annotation(parameter.annotation, value):
        yield (
            f"{job.name!r} takes {parameter.name!r} as {parameter.annotation}, got {value!r}",
            "durations become seconds, as float" if parameter.annotation == "int" else "mend it",
        )


def split_union(annotation: str) -> list[str]:
    """Returns `["float", "None"]` for `float | None`, without module names; empty for no
    annotation."""
    text = annotation.replace(" ", "")
    if text.startswith(("Optional[", "typing.Optional[")) and text.endswith("]"):
        text = f"{text.partition('[')[2][:-1]}|None"
    if not text or "[" in text:
        return [text] if text else []
    return [part.rpartition(".")[2] for part in text.split("|")]


def matches_annotation(annotation: str, value: object) -> bool:
    """Whether a literal fits the annotation; only clear mismatches are rejected."""
    if annotation.startswith(("Literal[", "typing.Literal[")):
        choices = _parse_literal(annotation)
        return choices is None or value in choices
    names = split_union(annotation)
    if not names or any(name not in _TYPE_CHECKS for name in names):
        return True
    return any(_TYPE_CHECKS[name](value) for name in names)


def coerce_to_annotation(annotation: str, value: object) -> object:
    """Converts a literal to the annotation: a whole float, such as seconds, to int."""
    if split_union(annotation) in (["int"], ["int", "None"]) and isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value


def _parse_literal(annotation: str) -> tuple[object, ...] | None:
    inner = annotation.partition("[")[2].rpartition("]")[0]
    try:
        return tuple(ast.literal_eval(f"({inner},)"))
    except (ValueError, SyntaxError):
        return None
