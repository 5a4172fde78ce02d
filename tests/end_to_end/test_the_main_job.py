"""From YAML to evidence and back: the engine as its users meet it, over its API and commands."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from tests.end_to_end.engine_process import EngineProcess, catcher, engine, listed

REPOSITORY = Path(__file__).resolve().parents[2]
SITE = """
site: test-site
observations:
  exposure:
    event: camera.read
    id: imageName
    image: "{images}/{{id}}.fits"
    columns: {{band: filterName}}
"""
RULES = """
rule: hot
trigger: {telemetry: my.mirror, by: sensor}
alert:
  warning: {when: temperature > 15, clear: temperature < 14}
  serious: temperature > 20
  message: "Sensor {{ sensor }} is at {{ temperature }}"
---
rule: frames
trigger: {event: camera.read, where: exposureTime > 0, once_per: imageName}
job:
  run: rapid_image_metrics
  inputs: {frame: {image: exposure}}
  with: {preview: true}
---
rule: careless
trigger: {event: my.careless}
job: {run: careless, with: {how: raise}}
alert: {failed: warning}
---
rule: hanging
trigger: {event: my.hanging}
job: {run: careless, with: {how: hang}, timeout: 1s}
---
rule: greedy
trigger: {event: my.greedy}
job: {run: careless, with: {how: eat}}
---
rule: nonsense
trigger: {event: my.nonsense}
job: {run: careless, with: {how: nonsense}}
---
rule: ill-worded
trigger: {event: my.worded}
alert: {warning: always, message: "{{ 1 / zero }}"}
---
rule: broken
trigger: {event: my.broken, where: speed >}
"""
JOBS = '''
"""Jobs that go wrong, each in its own way."""

import time

from catcher import Result, job


@job
def careless(how: str) -> Result:
    """Does what it should not."""
    if how == "raise":
        raise ValueError("the mirror is upside down")
    if how == "hang":
        time.sleep(3600)
    if how == "eat":
        bytearray(64 * 2**30)
    return {"not": object()}
'''


def write_site(folder: Path, images: Path) -> Path:
    (folder / "rules").mkdir(parents=True)
    (folder / "catcher.yaml").write_text(SITE.format(images=images))
    (folder / "rules" / "rules.yaml").write_text(RULES)
    shutil.copytree(REPOSITORY / "jobs", folder / "jobs")
    (folder / "jobs" / "careless.py").write_text(JOBS)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    top = tmp_path_factory.mktemp("main-job")
    (top / "images").mkdir()
    return write_site(top / "site", top / "images"), top / "data", top / "images"


@pytest.fixture(scope="module")
def running(folders: tuple[Path, Path, Path]) -> Iterator[EngineProcess]:
    with engine(folders[0], folders[1]) as process:
        yield process


def post(running: EngineProcess, topic: str, **fields: Any) -> None:
    answer = running.post("/events", {"topic": topic, "fields": fields})
    assert answer.status_code == 202, answer.text


def the_run(running: EngineProcess, rule: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        runs: list[dict[str, Any]] = running.get("/runs", rule=rule)
        done = [one for one in runs if one["state"] not in ("pending", "running")]
        return done[0] if done else None

    run: dict[str, Any] = running.until(over, f"the end of a run of {rule}")
    return run


def the_alert(running: EngineProcess, rule: str, **wanted: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        alerts: list[dict[str, Any]] = running.get("/alerts", rule=rule)
        fitting = [one for one in alerts if wanted.items() <= one.items()]
        return fitting[0] if fitting else None

    alert: dict[str, Any] = running.until(there, f"an alert of {rule} with {wanted}")
    return alert


def test_an_alert_opens_rises_is_taken_and_resolves(
    running: EngineProcess, folders: tuple[Path, Path, Path]
) -> None:
    options = ["--site", folders[0], "--data", folders[1]]
    post(running, "my.mirror", sensor=1, temperature=16.0)
    alert = the_alert(running, "hot", severity="WARNING", state="firing")
    assert alert["message"] == "Sensor 1 is at 16"
    post(running, "my.mirror", sensor=1, temperature=21.0)
    the_alert(running, "hot", severity="SERIOUS")
    refused = running.post(f"/alerts/{alert['id']}/ack", {"who": "ana", "severity": "warning"})
    assert refused.status_code == 422
    assert "SERIOUS" in refused.json()["error"]
    catcher(
        "ack", alert["id"], "--severity", "serious", "--note", "I look", "--who", "ana", *options
    )
    assert the_alert(running, "hot", state="acknowledged")["acknowledged_by"] == "ana"
    post(running, "my.mirror", sensor=1, temperature=13.0)
    the_alert(running, "hot", state="resolved", severity="NONE")
    deeds = [row["what"] for row in listed("query", "audit", *options)]
    assert "acknowledge" in deeds


def test_the_real_ccd_frame_is_measured_as_numpy_measures_it(
    running: EngineProcess, folders: tuple[Path, Path, Path], shared_data: Path
) -> None:
    source = shared_data / "ccd-overscan-a8280271.fits"
    shutil.copy(source, folders[2] / "a8280271.fits")
    with fits.open(source) as hdus:
        overscan = hdus[0].data[0:520, 3:13].astype(float)  # BIASSEC [4:13,1:520]
    post(running, "camera.read", imageName="a8280271", exposureTime=30, filterName="B")
    run = the_run(running, "frames")
    assert run["state"] == "done", run["error"]
    assert run["observation"] == "a8280271"
    assert run["metrics"]["overscan_median"] == pytest.approx(np.median(overscan))
    assert run["metrics"]["overscan_noise"] == pytest.approx(np.std(overscan, ddof=1), rel=0.05)
    plots = [one for one in run["artifacts"] if one["name"].endswith(".png")]
    assert plots[0]["key"].startswith(f"frames/{run['time'][:10].replace('-', '/')}/{run['id']}/")
    metrics = listed(
        "query", "metrics", "overscan_median", "--obs", "a8280271",
        "--site", folders[0], "--data", folders[1],
    )  # fmt: skip
    assert [one["run"] for one in metrics] == [run["id"]]


def test_an_image_is_measured_once_ever(
    running: EngineProcess, folders: tuple[Path, Path, Path]
) -> None:
    for _ in range(3):
        post(running, "camera.read", imageName="once", exposureTime=30)
    the_run(running, "frames")
    runs = running.until(lambda: named(running, "once"), "the run")
    assert len(runs) == 1
    assert "once.fits" in the_failed(running, "once")["error"]


def named(running: EngineProcess, image: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = running.get("/firings", rule="frames")
    return [one for one in runs if one["once"] == image]


def the_failed(running: EngineProcess, image: str) -> dict[str, Any]:
    identity = named(running, image)[0]["id"]
    found: dict[str, Any] = running.until(
        lambda: (page := running.get(f"/runs/{identity}"))["state"] == "failed" and page,
        "the failure",
    )
    return found


@pytest.mark.parametrize(
    ("rule", "state", "words"),
    [
        ("careless", "failed", "ValueError: the mirror is upside down"),
        ("hanging", "timeout", "1s"),
        ("greedy", "failed", "MemoryError"),
        ("nonsense", "failed", "a metric is one number"),
    ],
)
def test_a_job_that_goes_wrong_is_a_failed_run_and_harms_nobody(
    running: EngineProcess, rule: str, state: str, words: str
) -> None:
    post(running, f"my.{rule}")
    run = the_run(running, rule)
    assert run["state"] == state
    assert words in run["error"]
    if rule == "careless":
        page = running.get(f"/runs/{run['id']}")
        assert "careless.py" in page["traceback"]
        the_alert(running, "careless", severity="WARNING")


def test_a_template_that_fails_still_alerts(running: EngineProcess) -> None:
    post(running, "my.worded", zero=0)
    alert = the_alert(running, "ill-worded", severity="WARNING")
    assert alert["message"]
    assert "{{" not in alert["message"]


def test_a_broken_rule_is_shown_with_its_place(running: EngineProcess) -> None:
    rows = {one["rule"]: one for one in running.get("/rules")}
    assert "hot" in rows
    problem = rows["broken"]["problems"][0]
    assert problem["file"] == "rules/rules.yaml"
    assert problem["line"] == RULES.splitlines().index(
        "trigger: {event: my.broken, where: speed >}"
    ) + 1  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no json", 422),
        (b"[1, 2]", 422),
        (b'{"fields": {"a": 1}}', 422),
        (b'{"topic": "my.mirror", "time": "1950-01-01", "fields": {}}', 422),
        (b'{"topic": "my.mirror", "fields": 3}', 422),
        (b"[" * 100_000, 422),
        (b'{"topic": "my.mirror", "fields": {"x": "' + b"y" * 10_000_000 + b'"}}', 413),
    ],
)
def test_what_is_no_event_is_refused_in_words(
    running: EngineProcess, body: bytes, status: int
) -> None:
    import httpx

    answer = httpx.post(
        running.url + "/events", content=body, trust_env=False, timeout=30,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == status, answer.text[:300]
    assert answer.json()["error"]


def test_odd_values_disturb_nobody(running: EngineProcess) -> None:
    for value in (None, "warm", [1, 2], {"a": 1}, 1e308, -1e308, True):
        post(running, "my.mirror", sensor="odd", temperature=value)
    post(running, "unknown.topic", anything=1)
    post(running, "my.mirror", sensor="sound", temperature=16.5)
    the_alert(running, "hot", key="sound", severity="WARNING")


def test_a_rule_fired_by_hand_is_marked_and_tells_nobody(
    running: EngineProcess, folders: tuple[Path, Path, Path]
) -> None:
    options = ["--site", folders[0], "--data", folders[1]]
    event = json.dumps({"topic": "my.careless", "time": "2025-01-01T00:00:00Z", "fields": {}})
    fired = json.loads(catcher("fire", "careless", "--event", event, *options, "--json"))
    page = running.until(
        lambda: (one := running.get(f"/runs/{fired['id']}"))["state"] == "failed" and one,
        "the run by hand",
    )
    assert page["manual"]
    refused = catcher("fire", "nothing-such", *options, status=2)
    assert refused == ""


def test_requests_from_elsewhere_are_refused(running: EngineProcess) -> None:
    import httpx

    elsewhere = httpx.get(running.url + "/rules", headers={"Host": "evil.example"}, trust_env=False)
    assert elsewhere.status_code == 403
    foreign = httpx.post(
        running.url + "/events", json=[], headers={"Origin": "http://evil.example"}, trust_env=False
    )
    assert foreign.status_code == 403


def test_the_api_describes_itself(running: EngineProcess) -> None:
    paths = running.get("/openapi.json")["paths"]
    assert {"/events", "/runs", "/alerts", "/artifacts", "/stream"} <= set(paths)


def test_what_was_kept_outlives_the_engine(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    site = write_site(tmp_path / "site", folders[2])
    data = tmp_path / "data"
    with engine(site, data) as first:
        post(first, "my.mirror", sensor=7, temperature=18.0)
        post(first, "camera.read", imageName="kept", exposureTime=1)
        the_alert(first, "hot", severity="WARNING")
        first.until(lambda: named(first, "kept"), "the firing")
        assert first.stop(signal.SIGKILL) != 0
    with engine(site, data) as second:
        assert the_alert(second, "hot", severity="WARNING")["state"] == "firing"
        post(second, "camera.read", imageName="kept", exposureTime=1)
        post(second, "my.mirror", sensor=7, temperature=13.0)
        the_alert(second, "hot", state="resolved")
        assert len(named(second, "kept")) == 1
        assert second.stop(signal.SIGTERM) == 0
