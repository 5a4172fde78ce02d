"""The day after: what of a night is missing or was not processed is named."""

from __future__ import annotations

from pathlib import Path

from catcher import Metric, Observation, Result
from catcher.testing import load_job
from tests.sample_site import ThreadedEngine, engine_in_thread

SITE = Path(__file__).parents[2]
look_again = load_job("look_again", site=SITE)
night_summary = load_job("night_summary", site=SITE)
OBSERVATION = Observation("exposure", "MC_O_1", 0, 30_000_000_000)
SETTINGS = """
site: small
observations:
  exposure: {event: endReadout, id: imageName, image: "images/{id}/{detector}.fits"}
limits: {workers: 1}
"""
RULES = """
rule: images
trigger: {event: endReadout, once_per: imageName}
job: {run: look_again, with: {expected: []}}
---
rule: focus
trigger: {event: endReadout, where: fails, once_per: imageName}
job: {run: look_again, with: {expected: 5}}
---
"""


def metric_value(result: Result, name: str) -> float | None:
    metric = result.metrics[name]
    return metric.value if isinstance(metric, Metric) else metric


def test_one_observation_is_done_when_its_images_and_runs_are() -> None:
    result = look_again(
        OBSERVATION, ["S00", "S01"], {"images": "done", "old": "replaced"}, ["images"]
    )
    assert (metric_value(result, "images"), metric_value(result, "unprocessed")) == (2, 0)
    assert result.note == "MC_O_1: all is done"


def test_what_is_not_done_of_one_observation_is_named() -> None:
    result = look_again(OBSERVATION, (), {"mount-jitter": "failed"}, ["images"])
    assert (metric_value(result, "images"), metric_value(result, "unprocessed")) == (0, 2)
    assert result.note == "MC_O_1: no image, mount-jitter failed, images never"


def test_a_night_is_summed_up_in_one_line() -> None:
    runs = {f"E{index}": {"images": "done"} for index in range(5)}
    runs["E3"] = {"images": "timeout"}
    parts = {name: look_again(OBSERVATION, ["S00", "S01"], runs[name], ["images"]) for name in runs}
    parts["E1"] = look_again(OBSERVATION, ["S00"], runs["E1"], ["images"])
    parts["E2"] = look_again(OBSERVATION, (), runs["E2"], ["images"])
    del parts["E4"]
    result = night_summary(parts, {"E4": "the worker died"}, runs, ["images"])
    assert result.note == (
        "Of 5 observations: 1 without an image (E2); 1 with fewer images than most (E1); "
        "1 not processed (E3: images); 1 that could not be looked at (E4)"
    )
    names = ("observations", "without_image", "short_of_images", "unprocessed", "not_seen")
    assert [metric_value(result, name) for name in names] == [5, 1, 1, 1, 1]
    assert [row["unprocessed"] for row in result.artifacts["night.json"]][3] == "images: timeout"
    assert result.fields["images"].ids == ("E0", "E1", "E2", "E3", "E4")


def test_a_night_without_observations_says_so() -> None:
    result = night_summary({}, {}, {}, ["images"])
    assert metric_value(result, "observations") == 0
    assert result.note.startswith("no observations")


def create_exposure(engine: ThreadedEngine, name: str, detectors: int, fails: bool = False) -> None:
    for number in range(detectors):
        path = engine.data / "images" / name / f"S0{number}.fits"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"SIMPLE")
    engine.post_event("endReadout", imageName=name, fails=fails)
    engine.wait_for_run(rule="focus" if fails else "images", observation=name)


def test_on_the_running_engine_the_rule_that_ships_names_what_is_missing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "rules").mkdir(parents=True)
    (site / "jobs").symlink_to(SITE / "jobs")
    (site / "catcher.yaml").write_text(SETTINGS)
    shipped_rule = (SITE / "rules" / "night.yaml").read_text()
    (site / "rules" / "rules.yaml").write_text(RULES + shipped_rule)
    with engine_in_thread(site, tmp_path / "data") as engine:
        create_exposure(engine, "E1", 2)
        create_exposure(engine, "E2", 2, fails=True)
        create_exposure(engine, "E3", 0)
        create_exposure(engine, "E4", 1)
        create_exposure(engine, "E5", 2)
        engine.request("POST", "/rules/day-after/fire", json={"tell": True})
        run = engine.wait_for_run(rule="day-after", part="")
        assert run["note"] == (
            "Of 5 observations: 1 without an image (E3); 1 with fewer images than most (E4); "
            "1 not processed (E2: focus)"
        )
        (alert,) = engine.wait_until(
            lambda: [alert for alert in engine.get("/alerts") if alert["rule"] == "day-after"],
            "an alert",
        )
        assert "5 exposures 1 have no image, 1 lack some and 1 were not" in alert["message"]
