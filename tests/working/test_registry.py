"""The jobs of a site are read without being run, and compared with the rules that use them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from catcher import job
from catcher.model.problem import CatcherError
from catcher.model.rule import Gather, Input, JobSpec, Rule, Trigger
from catcher.working import Registry
from catcher.working.loading import load
from tests.working.jobfiles import loaded, write_jobs


def rule(inputs: dict[str, Input] | None = None, **spec: Any) -> Rule:
    trigger = Trigger("event", topic="t")
    return Rule("r", trigger, job=JobSpec(inputs=inputs or {}, **spec))


def complaints(registry: Registry, one: Rule) -> list[str]:
    return [str(problem) for problem in registry.check(one)]


# -- the mark -------------------------------------------------------------------------------


def test_a_marked_function_stays_what_it_was() -> None:
    @job
    def bare(x: int) -> int:
        return 2 * x

    @job(name="other")
    async def named(x: int) -> int:
        return 2 * x

    assert bare(2) == 4
    assert asyncio.run(named(2)) == 4
    assert (bare.__name__, named.__name__) == ("bare", "named")


# -- reading --------------------------------------------------------------------------------


def test_jobs_are_found_by_their_mark(tmp_path: Path) -> None:
    registry = loaded(
        tmp_path,
        first="""
            import catcher

            @job
            def one(x: float, y=2):
                '''Adds.'''

            @catcher.job(name="second")
            async def two(*, series: "Series", **rest): ...

            def not_a_job(): ...
        """,
    )
    assert registry.names() == ["one", "second"]
    one, second = registry.signature("one"), registry.signature("second")
    assert [(p.name, p.annotation, p.required) for p in one.parameters] == [
        ("x", "float", True), ("y", "", False)
    ]  # fmt: skip
    assert (one.doc, one.is_async, str(one.place)) == ("Adds.", False, "jobs/first.py:6:1")
    assert (second.function, second.is_async, second.open) == ("two", True, True)
    assert second["series"].annotation == "Series"


def test_reading_runs_nothing_of_the_site(tmp_path: Path) -> None:
    registry = loaded(
        tmp_path,
        hangs="""
            import nothing_that_exists
            while True: pass
            @job
            def here(): ...
        """,
    )
    assert registry.names() == ["here"]


def test_a_broken_file_is_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    folder = write_jobs(tmp_path, good="@job\ndef fine(): ...", bad="def (:")
    (folder / "binary.py").write_bytes(b"\0\xff")
    registry, problems = Registry.load(folder)
    assert registry.names() == ["fine"]
    assert sorted(problem.place.file for problem in problems) == ["jobs/bad.py", "jobs/binary.py"]
    assert next(p for p in problems if p.place.file == "jobs/bad.py").place.line == 2


def test_a_job_defined_twice_is_a_problem(tmp_path: Path) -> None:
    folder = write_jobs(tmp_path, a="@job\ndef same(): ...", b="@job\ndef same(): ...")
    registry, problems = Registry.load(folder)
    assert registry.address("same").file == "jobs/a.py"
    assert "already defined at jobs/a.py:3:1" in str(problems[0])


@pytest.mark.parametrize("line", ["from lib import plots", "import lib.plots",
                                  "from jobs.lib import plots"])  # fmt: skip
def test_a_wrong_import_of_shared_code_is_explained(tmp_path: Path, line: str) -> None:
    _, problems = Registry.load(write_jobs(tmp_path, a=f"{line}\n@job\ndef a(): ..."))
    assert "from .lib import NAME" in problems[0].hint


def test_an_argument_by_position_only_is_a_problem(tmp_path: Path) -> None:
    _, problems = Registry.load(write_jobs(tmp_path, a="@job\ndef a(x, /): ..."))
    assert "by position only" in problems[0].message


def test_a_site_without_jobs_has_none(tmp_path: Path) -> None:
    registry, problems = Registry.load(tmp_path / "jobs")
    assert (registry.names(), problems) == ([], [])


def test_an_unknown_job_is_answered_with_the_nearest(tmp_path: Path) -> None:
    registry = loaded(tmp_path, a="@job\ndef mount_jitter(): ...")
    with pytest.raises(CatcherError, match="did you mean 'mount_jitter'"):
        registry.address("mount_jiter")


# -- digests and copies ---------------------------------------------------------------------


def test_the_digest_follows_the_file_and_the_shared_code(tmp_path: Path) -> None:
    files = {"a": "@job\ndef a(): ...", "b": "@job\ndef b(): ...", "lib__c": "X = 1"}
    before = loaded(tmp_path, **files)
    same = loaded(tmp_path, **files)
    assert same.addresses == before.addresses
    edited = loaded(tmp_path, **{**files, "a": "@job\ndef a(): 1"})
    assert edited.address("a").digest != before.address("a").digest
    assert edited.address("b").digest == before.address("b").digest
    shared = loaded(tmp_path, **{**files, "lib__c": "X = 2"})
    assert shared.address("b").digest != before.address("b").digest


def test_a_kept_job_runs_as_it_was_when_it_was_loaded(tmp_path: Path) -> None:
    text = "from .lib import numbers\n@job\ndef a(): return {'n': numbers.N}"
    registry = loaded(tmp_path, a=text, lib__numbers="N = 1").keep(tmp_path / "kept")
    again = loaded(tmp_path, a=text, lib__numbers="N = 1").keep(tmp_path / "kept")
    write_jobs(tmp_path, a="syntax error", lib__numbers="N = 2")
    assert load(registry.address("a"))() == {"n": 1}
    assert again.addresses == registry.addresses


# -- a rule against a job -------------------------------------------------------------------

WIND = """
    @job
    def wind(wind: Series, horizon: float, threshold: float, band: str = "r", deep: bool = False,
             count: int = 3, method: Literal["line", "mean"] = "mean", event: Event | None = None,
             limit: float | None = None): ...
"""
SERIES = Input(topic="t", last=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return loaded(
        tmp_path,
        wind=WIND,
        frame="@job\ndef frame(frame: Path, detector: str): ...",
        total="@job\ndef total(parts, missing, limit: float = 1): ...",
        open="@job\ndef takes_all(**everything): ...",
    )


def test_a_rule_that_fits_has_no_problem(registry: Registry) -> None:
    constants = {"horizon": 600.0, "threshold": 15, "method": "line", "limit": None, "count": 3.0}
    assert complaints(registry, rule({"wind": SERIES}, run="wind", arguments=constants)) == []
    assert complaints(registry, rule({"x": SERIES}, run="takes_all", arguments={"y": 1})) == []
    parted = rule({"frame": Input(image="exposure")}, run="frame", each="detector",
                  gather=Gather("total"))  # fmt: skip
    assert complaints(registry, parted) == []
    assert registry.check(Rule("r", Trigger("event"))) == []


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({"horizon": 1.0}, "needs the argument 'threshold'"),
        ({"horizon": 1.0, "treshold": 1.0}, "did you mean 'threshold'?"),
        ({"horizon": "soon", "threshold": 1.0}, "'horizon' as float, got 'soon'"),
        ({"horizon": True, "threshold": 1.0}, "'horizon' as float, got True"),
        ({"horizon": 1.0, "threshold": 1.0, "band": 5}, "'band' as str, got 5"),
        ({"horizon": 1.0, "threshold": 1.0, "deep": "yes"}, "'deep' as bool, got 'yes'"),
        ({"horizon": 1.0, "threshold": 1.0, "count": 1.5}, "'count' as int, got 1.5"),
        ({"horizon": 1.0, "threshold": 1.0, "method": "curve"}, "got 'curve'"),
        ({"horizon": 1.0, "threshold": 1.0, "limit": "x"}, "'limit' as float | None, got 'x'"),
        ({"horizon": 1.0, "threshold": 1.0, "wind": 1.0}, "by `inputs` and by `with`"),
    ],
)
def test_constants_that_do_not_fit_are_named(
    registry: Registry, constants: dict[str, Any], words: str
) -> None:
    found = complaints(registry, rule({"wind": SERIES}, run="wind", arguments=constants))
    assert any(words in text for text in found), found


def test_inputs_that_do_not_fit_are_named(registry: Registry) -> None:
    both = {"horizon": 1.0, "threshold": 1.0}
    image = rule({"wind": Input(image="exposure")}, run="wind", arguments=both)
    assert "but the input gives a Path" in complaints(registry, image)[0]
    series = rule({"frame": SERIES}, run="frame", each="detector")
    assert "but the input gives a Series" in complaints(registry, series)[0]
    unknown = rule({"wnd": SERIES}, run="wind", arguments=both)
    assert any("did you mean 'wind'?" in text for text in complaints(registry, unknown))


def test_a_job_that_is_not_there_is_named(registry: Registry) -> None:
    assert "did you mean 'wind'?" in complaints(registry, rule(run="wnd"))[0]
    parted = rule({"frame": Input(image="x")}, run="frame", each="detector",
                  gather=Gather("totl"))  # fmt: skip
    assert "did you mean 'total'?" in complaints(registry, parted)[0]


def test_an_argument_of_each_is_given_only_with_each(registry: Registry) -> None:
    whole = rule({"frame": Input(image="exposure")}, run="frame")
    assert "needs the argument 'detector'" in complaints(registry, whole)[0]


def test_nothing_is_gathered_without_parts(registry: Registry) -> None:
    one = rule({"x": SERIES}, run="takes_all", gather=Gather("total"))
    assert "nothing to gather" in complaints(registry, one)[0]
