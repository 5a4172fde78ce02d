"""The worker's side of a call: functions are found, called by name, and their results checked."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catcher import Field, Metric, Result
from catcher.jobs.result_validation import validate_result
from catcher.jobs.worker import execute_call, execute_call_async
from catcher.model.errors import CatcherError
from catcher.model.run import JobOutcome
from tests.jobs.job_files import create_call, load_registry


def run_job(site: Path, text: str, **arguments: object) -> JobOutcome:
    """What comes of the job `one`, written in the file `jobs/one.py`."""
    return execute_call(create_call(load_registry(site, one=text), "one", **arguments))


# -- calling --------------------------------------------------------------------------------


def test_arguments_bind_by_name(tmp_path: Path) -> None:
    outcome = run_job(tmp_path, "@job\ndef one(a, b): return {'d': a - b}", b=1, a=3)
    assert outcome.output is not None
    assert outcome.output.metrics == {"d": Metric(2.0)}


def test_jobs_share_code_and_sites_do_not(tmp_path: Path) -> None:
    values, names = [], {"lib", "jobs", "one"}
    before = names & sys.modules.keys()
    for name, value in (("north", 1), ("south", 2)):
        text = "from .lib import code\n@job\ndef one(): return {'n': code.N}"
        registry = load_registry(tmp_path / name, one=text, lib__code=f"N = {value}")
        outcome = execute_call(create_call(registry, "one"))
        assert outcome.output is not None
        values.append(outcome.output.metrics["n"].value)
    assert values == [1, 2]
    assert names & sys.modules.keys() == before


def test_an_edited_job_is_reloaded_and_the_old_one_removed(tmp_path: Path) -> None:
    for value in (1, 2, 3):
        outcome = run_job(tmp_path, f"@job\ndef one(): return {{'n': {value}}}")
        assert outcome.output is not None
        assert outcome.output.metrics["n"].value == value
    modules = [vars(module).get("__file__") for module in sys.modules.copy().values()]
    assert modules.count(str(tmp_path / "jobs" / "one.py")) == 1


# -- failures -------------------------------------------------------------------------------


def test_the_traceback_starts_in_the_job(tmp_path: Path) -> None:
    text = """
        from .lib import code
        @job
        def one():
            return code.divide(1, 0)
    """
    registry = load_registry(tmp_path, one=text, lib__code="def divide(a, b): return a / b")
    outcome = execute_call(create_call(registry, "one"))
    frames = [line.strip() for line in outcome.traceback.splitlines() if "File" in line]
    assert frames == [
        'File "jobs/one.py", line 6, in one',
        'File "jobs/lib/code.py", line 2, in divide',
    ]


def test_causes_are_reported_without_frames_of_others(tmp_path: Path) -> None:
    text = """
        @job
        def one():
            try:
                {}["a"]
            except KeyError as error:
                raise ValueError("two\\nlines") from error
    """
    outcome = run_job(tmp_path, text)
    assert outcome.error == "ValueError: two lines"
    assert "KeyError: 'a'" in outcome.traceback
    assert "worker.py" not in outcome.traceback


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@job\ndef one(x): ...", "missing 1 required positional argument: 'x'"),
        ("import nothing_like_it\n@job\ndef one(): ...", "No module named 'nothing_like_it'"),
        ("raise RuntimeError('at import')\n@job\ndef one(): ...", "RuntimeError: at import"),
        ("@job\ndef one(): raise SystemExit", "sys.exit(None)"),
        ("@job\ndef one(): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("@job\ndef one(): raise GeneratorExit", "GeneratorExit"),
        ("@job\ndef one(): one()", "RecursionError"),
        (
            "class Bad(Exception):\n  def __str__(self): raise ValueError\n"
            "@job\ndef one(): raise Bad",
            "Bad",
        ),
    ],
)
def test_whatever_a_job_raises_is_an_outcome(tmp_path: Path, text: str, message: str) -> None:
    outcome = run_job(tmp_path, text)
    assert outcome.state == "failed"
    assert message in outcome.error
    assert "\n" not in outcome.error
    assert len(outcome.traceback) < 20_000


def test_an_error_of_the_jobs_own_goes_by_its_plain_name(tmp_path: Path) -> None:
    text = "class BadFrame(Exception): ...\n@job\ndef one(): raise BadFrame('cut short')"
    assert run_job(tmp_path, text).error == "BadFrame: cut short"


def test_a_job_file_that_is_gone_is_an_outcome(tmp_path: Path) -> None:
    registry = load_registry(tmp_path, one="@job\ndef one(): ...")
    (tmp_path / "jobs" / "one.py").unlink()
    outcome = execute_call(create_call(registry, "one"))
    assert "is gone" in outcome.error
    assert not outcome.retry


# -- results --------------------------------------------------------------------------------


def test_numbers_of_every_kind_are_metrics() -> None:
    values: dict[str, Any] = {
        "a": 1, "b": 2.5, "c": np.float32(0.5), "d": np.int64(7), "e": True,
        "f": np.array(3.0), "g": np.array([4]), "h": Metric(np.float64(5), "m/s", {"band": "r"}),
    }  # fmt: skip
    metrics = validate_result(Result(metrics=values)).metrics
    assert [metric.value for metric in metrics.values()] == [1, 2.5, 0.5, 7, 1, 3, 4, 5]
    assert all(type(metric.value) is float for metric in metrics.values())
    assert metrics["h"] == Metric(5.0, "m/s", {"band": "r"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, 10**400])
def test_what_is_no_finite_number_is_unknown_with_a_reason(value: float | None) -> None:
    for returned in (value, Metric(value)):
        metric = validate_result(Result(metrics={"m": returned})).metrics["m"]
        assert metric.value is None
        assert metric.reason.startswith("the job gave")


def test_the_jobs_own_reason_is_preserved() -> None:
    metrics = validate_result(Result(metrics={"m": Metric(None, reason="clouds")})).metrics
    assert metrics["m"].reason == "clouds"


def test_none_and_a_mapping_of_numbers_will_do() -> None:
    assert validate_result(None).metrics == {}
    assert validate_result({"a": 1}).metrics == {"a": Metric(1.0)}


def test_fields_and_artifacts_come_along() -> None:
    field = Field("amp", ["a"], np.array([1.0]))
    output = validate_result(
        Result(fields={"noise": field}, artifacts={"a.txt": "x"}, note="a\n note")
    )
    assert output.fields["noise"].ids == ("a",)
    assert [(artifact.name, artifact.data) for artifact in output.artifacts] == [("a.txt", b"x")]
    assert output.note == "a note"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1, 2], "returned a list of 2"),
        (5.0, r"returned 5.0 \(float\)"),
        ((1, 2), "returned a tuple of 2"),
        (object(), "returned a object"),
        ({"a": "text"}, "metric 'a' is 'text'"),
        ({"a": [1, 2]}, "metric 'a' is a list of 2"),
        ({"a": np.arange(3)}, "metric 'a' is a ndarray"),
        ({"a": 1j}, "metric 'a' is 1j"),
        ({"not a name": 1}, "'not a name'"),
        ({5: 1}, "metric is named 5"),
        ({"catcher": 1}, "cannot be named 'catcher'"),
        (Result(metrics=[1]), "metrics of the result are a list"),  # type: ignore[arg-type]
        (Result(fields={"f": [1.0]}), "field 'f' is a list"),  # type: ignore[dict-item]
        (Result(artifacts={"a.json": object()}), "a.json"),
        (Result(artifacts={"../a.json": 1}), "no name for an artifact"),
        (Result(artifacts={5: 1}), "artifact is named 5"),  # type: ignore[dict-item]
    ],
)
def test_nonsense_is_refused_by_name(returned: object, message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        validate_result(returned)


def test_nonsense_is_a_failed_run_that_is_not_retried(tmp_path: Path) -> None:
    outcome = run_job(tmp_path, "@job\ndef one(): return [1]")
    assert (outcome.state, outcome.retry) == ("failed", False)
    assert "return catcher.Result" in outcome.error


def test_a_coroutine_is_no_result(tmp_path: Path) -> None:
    text = "async def other(): ...\n@job\ndef one(): return other()"
    assert "async def" in run_job(tmp_path, text).error


async def test_jobs_of_one_file_may_start_at_once(tmp_path: Path) -> None:
    """The second waits for the import of the first; it never sees a module half made."""
    text = """
        import time

        time.sleep(0.1)

        @job
        async def one(): return {"x": 1}
    """
    call = create_call(load_registry(tmp_path, one=text), "one")
    outcomes = await asyncio.gather(*(execute_call_async(call) for _ in range(4)))
    assert [(outcome.state, outcome.error) for outcome in outcomes] == [("done", "")] * 4
