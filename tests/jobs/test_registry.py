"""The jobs of a site are read without being run, and compared with the rules that use them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from catcher import job
from catcher.jobs import Registry
from catcher.jobs.loader import load_job_function
from catcher.model.errors import CatcherError
from catcher.model.rule import GatherSpec, InputSpec, JobSpec, Rule, TriggerSpec
from tests.jobs.job_files import load_registry, write_jobs


def create_rule(inputs: dict[str, InputSpec] | None = None, **spec: Any) -> Rule:
    trigger = TriggerSpec("event", topic="t")
    return Rule("r", trigger, job=JobSpec(inputs=inputs or {}, **spec))


def check_rule(registry: Registry, rule: Rule) -> list[str]:
    return [str(problem) for problem in registry.check_rule(rule)]


# -- the mark -------------------------------------------------------------------------------


def test_a_decorated_function_is_unchanged() -> None:
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


def test_jobs_are_found_by_their_decorator(tmp_path: Path) -> None:
    registry = load_registry(
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
    assert registry.list_job_names() == ["one", "second"]
    first, second = registry.get_signature("one"), registry.get_signature("second")
    assert [
        (parameter.name, parameter.annotation, parameter.is_required)
        for parameter in first.parameters
    ] == [("x", "float", True), ("y", "", False)]
    assert (first.doc, first.is_async, str(first.place)) == ("Adds.", False, "jobs/first.py:6:1")
    assert (second.function, second.is_async, second.accepts_kwargs) == ("two", True, True)
    assert second["series"].annotation == "Series"


def test_reading_runs_nothing_of_the_site(tmp_path: Path) -> None:
    registry = load_registry(
        tmp_path,
        hangs="""
            import nothing_that_exists
            while True: pass
            @job
            def here(): ...
        """,
    )
    assert registry.list_job_names() == ["here"]


def test_a_broken_file_is_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    folder = write_jobs(tmp_path, good="@job\ndef fine(): ...", bad="def (:")
    (folder / "binary.py").write_bytes(b"\0\xff")
    registry, problems = Registry.load(folder)
    assert registry.list_job_names() == ["fine"]
    assert sorted(problem.location.file for problem in problems) == [
        "jobs/bad.py",
        "jobs/binary.py",
    ]
    assert (
        next(
            problem for problem in problems if problem.location.file == "jobs/bad.py"
        ).location.line
        == 2
    )


def test_a_job_defined_twice_is_a_problem(tmp_path: Path) -> None:
    folder = write_jobs(tmp_path, a="@job\ndef same(): ...", b="@job\ndef same(): ...")
    registry, problems = Registry.load(folder)
    assert registry.get_address("same").file == "jobs/a.py"
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
    assert (registry.list_job_names(), problems) == ([], [])


def test_an_unknown_job_is_answered_with_the_nearest(tmp_path: Path) -> None:
    registry = load_registry(tmp_path, a="@job\ndef mount_jitter(): ...")
    with pytest.raises(CatcherError, match="did you mean 'mount_jitter'"):
        registry.get_address("mount_jiter")


# -- digests and copies ---------------------------------------------------------------------


def test_the_digest_follows_the_file_and_the_shared_code(tmp_path: Path) -> None:
    files = {"a": "@job\ndef a(): ...", "b": "@job\ndef b(): ...", "lib__c": "X = 1"}
    before = load_registry(tmp_path, **files)
    unchanged = load_registry(tmp_path, **files)
    assert unchanged.addresses == before.addresses
    edited = load_registry(tmp_path, **{**files, "a": "@job\ndef a(): 1"})
    assert edited.get_address("a").digest != before.get_address("a").digest
    assert edited.get_address("b").digest == before.get_address("b").digest
    shared = load_registry(tmp_path, **{**files, "lib__c": "X = 2"})
    assert shared.get_address("b").digest != before.get_address("b").digest


def test_a_copied_job_runs_as_it_was_when_it_was_loaded(tmp_path: Path) -> None:
    text = "from .lib import numbers\n@job\ndef a(): return {'n': numbers.N}"
    registry = load_registry(tmp_path, a=text, lib__numbers="N = 1").copy_jobs(tmp_path / "kept")
    second_registry = load_registry(tmp_path, a=text, lib__numbers="N = 1").copy_jobs(
        tmp_path / "kept"
    )
    write_jobs(tmp_path, a="syntax error", lib__numbers="N = 2")
    assert load_job_function(registry.get_address("a"))() == {"n": 1}
    assert second_registry.addresses == registry.addresses


# -- a rule against a job -------------------------------------------------------------------

WIND = """
    @job
    def wind(wind: Series, horizon: float, threshold: float, band: str = "r", deep: bool = False,
             count: int = 3, method: Literal["line", "mean"] = "mean", event: Event | None = None,
             limit: float | None = None): ...
"""
SERIES = InputSpec(topic="t", last=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load_registry(
        tmp_path,
        wind=WIND,
        frame="@job\ndef frame(frame: Path, detector: str): ...",
        total="@job\ndef total(parts, missing, limit: float = 1): ...",
        open="@job\ndef takes_all(**everything): ...",
    )


def test_a_rule_that_fits_has_no_problem(registry: Registry) -> None:
    constants = {"horizon": 600.0, "threshold": 15, "method": "line", "limit": None, "count": 3.0}
    assert (
        check_rule(registry, create_rule({"wind": SERIES}, run="wind", arguments=constants)) == []
    )
    assert (
        check_rule(registry, create_rule({"x": SERIES}, run="takes_all", arguments={"y": 1})) == []
    )
    split_rule = create_rule({"frame": InputSpec(image="exposure")}, run="frame", each="detector",
                  gather=GatherSpec("total"))  # fmt: skip
    assert check_rule(registry, split_rule) == []
    assert registry.check_rule(Rule("r", TriggerSpec("event"))) == []


@pytest.mark.parametrize(
    ("constants", "message"),
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
    registry: Registry, constants: dict[str, Any], message: str
) -> None:
    problems = check_rule(registry, create_rule({"wind": SERIES}, run="wind", arguments=constants))
    assert any(message in text for text in problems), problems


def test_inputs_that_do_not_fit_are_named(registry: Registry) -> None:
    constants = {"horizon": 1.0, "threshold": 1.0}
    image = create_rule({"wind": InputSpec(image="exposure")}, run="wind", arguments=constants)
    assert "but the input gives a Path" in check_rule(registry, image)[0]
    series = create_rule({"frame": SERIES}, run="frame", each="detector")
    assert "but the input gives a Series" in check_rule(registry, series)[0]
    unknown = create_rule({"wnd": SERIES}, run="wind", arguments=constants)
    assert any("did you mean 'wind'?" in text for text in check_rule(registry, unknown))


def test_a_job_that_is_not_there_is_named(registry: Registry) -> None:
    assert "did you mean 'wind'?" in check_rule(registry, create_rule(run="wnd"))[0]
    split_rule = create_rule({"frame": InputSpec(image="x")}, run="frame", each="detector",
                  gather=GatherSpec("totl"))  # fmt: skip
    assert "did you mean 'total'?" in check_rule(registry, split_rule)[0]


def test_an_argument_of_each_is_given_only_with_each(registry: Registry) -> None:
    unsplit_rule = create_rule({"frame": InputSpec(image="exposure")}, run="frame")
    assert "needs the argument 'detector'" in check_rule(registry, unsplit_rule)[0]


def test_nothing_is_reduced_without_parts(registry: Registry) -> None:
    unsplit_rule = create_rule({"x": SERIES}, run="takes_all", gather=GatherSpec("total"))
    assert "nothing to gather" in check_rule(registry, unsplit_rule)[0]
