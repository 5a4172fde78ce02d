"""Whether what a rule gives fits what its job takes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from catcher.model.rule import DETECTOR, Input, JobSpec
from catcher.working.signatures import Parameter, Signature

METRICS = "metrics"
"""The argument that names to which metrics a job may keep while the cluster is away, or is None."""
GIVEN = ("event", "observation", METRICS)
"""What every job may ask for without the rule saying so."""
RUNS = "runs"
"""With `each` over observations: by rule, how the runs about it ended; for `gather` by part."""
IMAGES = "images"
"""With `each` over observations: the detectors that have an image of it now; `all` for only one."""
GATHERED = ("parts", "missing")
"""What a gather job may ask for besides: the results by part, and the parts without one."""
Misfit = tuple[str, str]


def _whole(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


_SIMPLE: Mapping[str, Callable[[Any], bool]] = {
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "int": _whole,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
}


def misfits(spec: JobSpec, signatures: Mapping[str, Signature]) -> Iterator[Misfit]:
    """What does not fit between a rule's job and the signatures, as message and hint."""
    beyond = (RUNS,) if spec.each and spec.each != DETECTOR else ()
    if spec.run in signatures:
        own = (IMAGES, spec.each) if beyond else (spec.each,) if spec.each else ()
        extra = (*GIVEN, *beyond, *own)
        yield from _unfit(signatures[spec.run], spec.inputs, spec.arguments, extra)
    if spec.gather is not None and spec.gather.run in signatures:
        signature = signatures[spec.gather.run]
        yield from _unfit(signature, {}, spec.gather.arguments, (*GIVEN, *GATHERED, *beyond))
        if not spec.each:
            yield "`gather` has nothing to gather", "say `each: detector`, or drop `gather`"


def _unfit(
    job: Signature,
    inputs: Mapping[str, Input],
    constants: Mapping[str, Any],
    extra: tuple[str, ...],
) -> Iterator[Misfit]:
    yield from _unknown(job, inputs, "inputs")
    yield from _unknown(job, constants, "with")
    for name in sorted(inputs.keys() & constants.keys()):
        yield f"{name!r} is given by `inputs` and by `with`", "drop one of them"
    given = {*inputs, *constants, *extra}
    for parameter in job.parameters:
        if parameter.required and parameter.name not in given:
            hint = f"give it under `inputs` or `with`: {_called(job)}"
            yield f"the job {job.name!r} needs the argument {parameter.name!r}", hint
    for name, asked in inputs.items():
        if job.names(name):
            yield from _wrong_input(job, job[name], asked)
    for name, value in constants.items():
        if job.names(name):
            yield from _wrong_constant(job, job[name], value)


def _unknown(job: Signature, given: Mapping[str, object], where: str) -> Iterator[Misfit]:
    for name in given:
        if not job.takes(name):
            close = get_close_matches(name, [one.name for one in job.parameters], 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {_called(job)}"
            yield f"the job {job.name!r} takes no argument {name!r} (under `{where}`)", hint


def _called(job: Signature) -> str:
    return f"{job.name}({', '.join(one.name for one in job.parameters)})"


def _wrong_input(job: Signature, parameter: Parameter, asked: Input) -> Iterator[Misfit]:
    comes = "Path" if asked.image else "Series"
    fitting = {"Path": {"Path", "str"}, "Series": {"Series"}}[comes]
    names = set(alternatives(parameter.annotation))
    known = {"Path", "Series", "Event", "Observation", *_SIMPLE} - {"None"}
    if names and names <= known | {"None"} and not names & fitting:
        yield (
            f"{job.name!r} takes {parameter.name!r} as {parameter.annotation}, "
            f"but the input gives a {comes}",
            f"annotate it {comes}, or ask for something else",
        )


def _wrong_constant(job: Signature, parameter: Parameter, value: object) -> Iterator[Misfit]:
    if not accepts(parameter.annotation, value):
        yield (
            f"{job.name!r} takes {parameter.name!r} as {parameter.annotation}, got {value!r}",
            "durations become seconds, as float" if parameter.annotation == "int" else "mend it",
        )


def alternatives(annotation: str) -> list[str]:
    """`float | None` as `["float", "None"]`, module names cut off; empty where none is written."""
    text = annotation.replace(" ", "")
    if text.startswith(("Optional[", "typing.Optional[")) and text.endswith("]"):
        text = f"{text.partition('[')[2][:-1]}|None"
    if not text or "[" in text:
        return [text] if text else []
    return [part.rpartition(".")[2] for part in text.split("|")]


def accepts(annotation: str, value: object) -> bool:
    """Whether a literal may stand for the annotation; what is not plainly wrong is right."""
    if annotation.startswith(("Literal[", "typing.Literal[")):
        choices = _choices(annotation)
        return choices is None or value in choices
    names = alternatives(annotation)
    if not names or any(name not in _SIMPLE for name in names):
        return True
    return any(_SIMPLE[name](value) for name in names)


def fitted(annotation: str, value: object) -> object:
    """The literal as the job takes it: a whole number of seconds as int where it wants one."""
    if alternatives(annotation) in (["int"], ["int", "None"]) and isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value


def _choices(annotation: str) -> tuple[object, ...] | None:
    inner = annotation.partition("[")[2].rpartition("]")[0]
    try:
        return tuple(ast.literal_eval(f"({inner},)"))
    except (ValueError, SyntaxError):
        return None
