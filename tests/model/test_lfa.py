"""Artifacts under the conventions of a Large File Annex."""

from __future__ import annotations

import re

import pytest

from catcher.model.large_files import LargeFiles
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import parse_instant

KEY_PATTERN = re.compile(
    r"(?P<full>[A-Za-z0-9_]+(?::\d+)?)/(?P<generator>[^/]+)/\d{4}/\d\d/\d\d/"
    r"(?P=full)_(?P=generator)_\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[^/]*\.[a-z]+"
)


def create_run(time: str, rule: str = "mount-jitter", key: str = "", **fields: str) -> Run:
    firing = Firing(rule, key, parse_instant(time), "cause", "why")
    return Run(fields.pop("id", firing.id), firing, "job", "done", **fields)  # type: ignore[arg-type]


def test_a_key_names_component_generator_night_and_time() -> None:
    run = create_run("2023-07-28T04:00:00.25Z", id="b78dd86b21f5")
    assert LargeFiles("Catcher", 2).build_object_key(run, "jitter.png") == (
        "Catcher:2/mount-jitter_jitter/2023/07/27/"
        "Catcher:2_mount-jitter_jitter_2023-07-28T04:00:37.250_b78dd86b21f5.png"
    )
    assert (
        LargeFiles("Catcher")
        .build_object_key(run, "jitter.png")
        .startswith("Catcher/mount-jitter_jitter/")
    )


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2023-07-28T11:59:22.999Z", "2023/07/27"),
        ("2023-07-28T11:59:23Z", "2023/07/28"),
        ("2023-12-31T23:59:59Z", "2023/12/31"),
        ("2024-01-01T03:00:00Z", "2023/12/31"),
    ],
)
def test_the_day_is_the_observing_night_of_tai(time: str, day: str) -> None:
    assert f"/{day}/" in LargeFiles("Catcher").build_object_key(create_run(time), "a.png")


@pytest.mark.parametrize(
    "name", ["a.png", "a b?.fits", "..", "../../x.png", "/etc/x", "é.json", ""]
)
def test_hostile_artifact_name_stays_in_its_key(name: str) -> None:
    key = LargeFiles("Catcher", 0).build_object_key(
        create_run("2023-07-28T04:00:00Z", "we/ird ../rule"), name
    )
    assert ".." not in key.split("/") and not key.startswith("/")
    assert len(key.split("/")) == 6
    assert KEY_PATTERN.fullmatch(key if "." in key.rsplit("_", 1)[1] else key + ".x")


def test_two_runs_of_one_instant_have_different_keys() -> None:
    keys = {
        LargeFiles("Catcher").build_object_key(create_run("2023-07-28T04:00:00Z", key=key), "a.png")
        for key in ("301", "302")
    }
    assert len(keys) == 2


def test_the_event_has_the_shape_of_sal() -> None:
    run = create_run("2023-07-28T04:00:00Z", observation="MC_1")
    record = ArtifactRecord(
        "key", "jitter.png", run.id, run.rule, run.firing.time, 4321, "image/png", "sha256:abcd",
        url="s3://lfa/key",
    )  # fmt: skip
    assert LargeFiles("Catcher", 2).build_event_fields(run, record) == {
        "salIndex": 2, "url": "s3://lfa/key", "generator": "mount-jitter_jitter", "version": 1.0,
        "byteSize": 4321, "checkSum": "abcd", "mimeType": "image/png", "id": "MC_1",
        "private_sndStamp": (parse_instant("2023-07-28T04:00:37Z")) / 1e9,
    }  # fmt: skip
    assert LargeFiles("Catcher").format_topic("sal/{salname}/{event}") == (
        "sal/Catcher/logevent_largeFileObjectAvailable"
    )
