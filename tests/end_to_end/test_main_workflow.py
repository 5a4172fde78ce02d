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

from tests.end_to_end.engine_process import EngineProcess, list_rows, run_catcher, run_engine

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
    folder = tmp_path_factory.mktemp("main-job")
    (folder / "images").mkdir()
    return write_site(folder / "site", folder / "images"), folder / "data", folder / "images"


@pytest.fixture(scope="module")
def running(folders: tuple[Path, Path, Path]) -> Iterator[EngineProcess]:
    with run_engine(folders[0], folders[1]) as process:
        yield process


def post_event(running: EngineProcess, topic: str, **fields: Any) -> None:
    response = running.post("/events", {"topic": topic, "fields": fields})
    assert response.status_code == 202, response.text


def wait_for_run(running: EngineProcess, rule: str) -> dict[str, Any]:
    def find_finished() -> dict[str, Any] | None:
        runs: list[dict[str, Any]] = running.get("/runs", rule=rule)
        finished = [run for run in runs if run["state"] not in ("pending", "running")]
        return finished[0] if finished else None

    run: dict[str, Any] = running.wait_until(find_finished, f"the end of a run of {rule}")
    return run


def wait_for_alert(running: EngineProcess, rule: str, **fields: str) -> dict[str, Any]:
    def find_match() -> dict[str, Any] | None:
        alerts: list[dict[str, Any]] = running.get("/alerts", rule=rule)
        matches = [alert for alert in alerts if fields.items() <= alert.items()]
        return matches[0] if matches else None

    alert: dict[str, Any] = running.wait_until(find_match, f"an alert of {rule} with {fields}")
    return alert


def test_alert_opens_is_raised_acknowledged_and_resolved(
    running: EngineProcess, folders: tuple[Path, Path, Path]
) -> None:
    options = ["--site", folders[0], "--data", folders[1]]
    post_event(running, "my.mirror", sensor=1, temperature=16.0)
    alert = wait_for_alert(running, "hot", severity="WARNING", state="firing")
    assert alert["message"] == "Sensor 1 is at 16"
    post_event(running, "my.mirror", sensor=1, temperature=21.0)
    wait_for_alert(running, "hot", severity="SERIOUS")
    refused = running.post(f"/alerts/{alert['id']}/ack", {"who": "ana", "severity": "warning"})
    assert refused.status_code == 422
    assert "SERIOUS" in refused.json()["error"]
    run_catcher(
        "ack", alert["id"], "--severity", "serious", "--note", "I look", "--who", "ana", *options
    )
    assert wait_for_alert(running, "hot", state="acknowledged")["acknowledged_by"] == "ana"
    post_event(running, "my.mirror", sensor=1, temperature=13.0)
    wait_for_alert(running, "hot", state="resolved", severity="NONE")
    actions = [row["what"] for row in list_rows("query", "audit", *options)]
    assert "acknowledge" in actions


def test_the_real_ccd_frame_is_measured_as_numpy_measures_it(
    running: EngineProcess, folders: tuple[Path, Path, Path], shared_data: Path
) -> None:
    source = shared_data / "ccd-overscan-a8280271.fits"
    shutil.copy(source, folders[2] / "a8280271.fits")
    with fits.open(source) as hdu_list:
        overscan = hdu_list[0].data[0:520, 3:13].astype(float)  # BIASSEC [4:13,1:520]
    post_event(running, "camera.read", imageName="a8280271", exposureTime=30, filterName="B")
    run = wait_for_run(running, "frames")
    assert run["state"] == "done", run["error"]
    assert run["observation"] == "a8280271"
    assert run["metrics"]["overscan_median"] == pytest.approx(np.median(overscan))
    assert run["metrics"]["overscan_noise"] == pytest.approx(np.std(overscan, ddof=1), rel=0.05)
    plots = [artifact for artifact in run["artifacts"] if artifact["name"].endswith(".png")]
    assert plots[0]["key"].startswith(f"frames/{run['time'][:10].replace('-', '/')}/{run['id']}/")
    metrics = list_rows(
        "query", "metrics", "overscan_median", "--obs", "a8280271",
        "--site", folders[0], "--data", folders[1],
    )  # fmt: skip
    assert [metric["run"] for metric in metrics] == [run["id"]]


def test_an_image_is_measured_once_ever(
    running: EngineProcess, folders: tuple[Path, Path, Path]
) -> None:
    for _ in range(3):
        post_event(running, "camera.read", imageName="once", exposureTime=30)
    wait_for_run(running, "frames")
    runs = running.wait_until(lambda: list_firings(running, "once"), "the run")
    assert len(runs) == 1
    assert "once.fits" in wait_for_failure(running, "once")["error"]


def list_firings(running: EngineProcess, image: str) -> list[dict[str, Any]]:
    firings: list[dict[str, Any]] = running.get("/firings", rule="frames")
    return [firing for firing in firings if firing["once"] == image]


def wait_for_failure(running: EngineProcess, image: str) -> dict[str, Any]:
    firing_id = list_firings(running, image)[0]["id"]
    run: dict[str, Any] = running.wait_until(
        lambda: (page := running.get(f"/runs/{firing_id}"))["state"] == "failed" and page,
        "the failure",
    )
    return run


@pytest.mark.parametrize(
    ("rule", "state", "message"),
    [
        ("careless", "failed", "ValueError: the mirror is upside down"),
        ("hanging", "timeout", "1s"),
        ("greedy", "failed", "MemoryError"),
        ("nonsense", "failed", "a metric is one number"),
    ],
)
def test_failing_job_is_a_failed_run_and_affects_nothing_else(
    running: EngineProcess, rule: str, state: str, message: str
) -> None:
    post_event(running, f"my.{rule}")
    run = wait_for_run(running, rule)
    assert run["state"] == state
    assert message in run["error"]
    if rule == "careless":
        page = running.get(f"/runs/{run['id']}")
        assert "careless.py" in page["traceback"]
        wait_for_alert(running, "careless", severity="WARNING")


def test_a_template_that_fails_still_alerts(running: EngineProcess) -> None:
    post_event(running, "my.worded", zero=0)
    alert = wait_for_alert(running, "ill-worded", severity="WARNING")
    assert alert["message"]
    assert "{{" not in alert["message"]


def test_broken_rule_is_listed_with_its_location(running: EngineProcess) -> None:
    rows = {row["rule"]: row for row in running.get("/rules")}
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
def test_invalid_event_is_rejected_with_an_error(
    running: EngineProcess, body: bytes, status: int
) -> None:
    import httpx

    response = httpx.post(
        running.url + "/events", content=body, trust_env=False, timeout=30,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert response.status_code == status, response.text[:300]
    assert response.json()["error"]


def test_odd_values_are_harmless(running: EngineProcess) -> None:
    for value in (None, "warm", [1, 2], {"a": 1}, 1e308, -1e308, True):
        post_event(running, "my.mirror", sensor="odd", temperature=value)
    post_event(running, "unknown.topic", anything=1)
    post_event(running, "my.mirror", sensor="sound", temperature=16.5)
    wait_for_alert(running, "hot", key="sound", severity="WARNING")


def test_manual_firing_is_marked_and_notifies_nobody(
    running: EngineProcess, folders: tuple[Path, Path, Path]
) -> None:
    options = ["--site", folders[0], "--data", folders[1]]
    event = json.dumps({"topic": "my.careless", "time": "2025-01-01T00:00:00Z", "fields": {}})
    firing = json.loads(run_catcher("fire", "careless", "--event", event, *options, "--json"))
    page = running.wait_until(
        lambda: (run := running.get(f"/runs/{firing['id']}"))["state"] == "failed" and run,
        "the run by hand",
    )
    assert page["manual"]
    output = run_catcher("fire", "nothing-such", *options, status=2)
    assert output == ""


def test_requests_from_other_hosts_and_origins_are_rejected(running: EngineProcess) -> None:
    import httpx

    other_host = httpx.get(
        running.url + "/rules", headers={"Host": "evil.example"}, trust_env=False
    )
    assert other_host.status_code == 403
    other_origin = httpx.post(
        running.url + "/events", json=[], headers={"Origin": "http://evil.example"}, trust_env=False
    )
    assert other_origin.status_code == 403


def test_the_api_describes_itself(running: EngineProcess) -> None:
    paths = running.get("/openapi.json")["paths"]
    assert {"/events", "/runs", "/alerts", "/artifacts", "/stream"} <= set(paths)


def test_stored_state_survives_a_killed_engine(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    site = write_site(tmp_path / "site", folders[2])
    data = tmp_path / "data"
    with run_engine(site, data) as first:
        post_event(first, "my.mirror", sensor=7, temperature=18.0)
        post_event(first, "camera.read", imageName="kept", exposureTime=1)
        wait_for_alert(first, "hot", severity="WARNING")
        first.wait_until(lambda: list_firings(first, "kept"), "the firing")
        assert first.stop(signal.SIGKILL) != 0
    with run_engine(site, data) as second:
        assert wait_for_alert(second, "hot", severity="WARNING")["state"] == "firing"
        post_event(second, "camera.read", imageName="kept", exposureTime=1)
        post_event(second, "my.mirror", sensor=7, temperature=13.0)
        wait_for_alert(second, "hot", state="resolved")
        assert len(list_firings(second, "kept")) == 1
        assert second.stop(signal.SIGTERM) == 0
