"""An engine whose object store and metric store are away: results and alerts go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sample_site import DOUBLING, ThreadedEngine, engine_in_thread, write_site
from tests.servers import S3_KEYS, run_s3, run_victoria_metrics

SETTINGS = """
site: small
stores:
  ledger: {{sqlite: {{synchronous: full}}}}
  metrics: {{influxdb: {{url: "http://127.0.0.1:{metrics}", bucket: night, longest_pause: 0.1}}}}
  objects: {{s3: {{url: "s3://catcher/site", endpoint: "http://127.0.0.1:{objects}",
                 region: us-east-1, access_key: {access}, secret_key: {secret}, timeout: 2}}}}
  spool: 10MB
"""


def get_counts(engine: ThreadedEngine, name: str) -> dict[str, Any]:
    (row,) = [row for row in engine.get("/health") if row["name"] == name]
    return {"state": row["state"], **row["counts"]}


@pytest.mark.server
def test_unavailable_stores_receive_everything_when_they_recover(
    tmp_path: Path,
) -> None:
    with run_victoria_metrics(tmp_path / "metrics") as metrics, run_s3(tmp_path / "s3") as objects:
        access, secret = S3_KEYS
        settings = SETTINGS.format(
            metrics=metrics.port, objects=objects.port, access=access, secret=secret
        )
        site = write_site(tmp_path / "site", DOUBLING, settings=settings)
        metrics.stop()
        objects.stop()
        with engine_in_thread(site, tmp_path / "data") as engine:
            engine.post_event("number", value=21, lane="a")
            run = engine.wait_for_run(state="done")
            assert run["metrics"] == {"doubled": 42.0}
            (artifact,) = run["artifacts"]
            engine.wait_until(lambda: get_counts(engine, "metrics")["waiting"] == 1, "the wait")
            assert get_counts(engine, "metrics")["state"] == "away"
            assert get_counts(engine, "objects")["waiting"] == 1
            assert engine.request("GET", f"/artifacts/{artifact['key']}").text == "42.0"
        with engine_in_thread(site, tmp_path / "data") as engine:
            assert engine.request("GET", f"/artifacts/{artifact['key']}").text == "42.0"
            metrics.start()
            objects.start()
            engine.wait_until(lambda: get_counts(engine, "metrics")["written"] == 1, "the export")
            engine.wait_until(lambda: not get_counts(engine, "objects")["waiting"], "the upload")
            object_path = tmp_path / "s3" / "buckets" / "catcher" / "site" / artifact["key"]
            assert object_path.read_text() == "42.0"
            engine.wait_until(
                lambda: get_counts(engine, "objects")["state"] == "ok", "the end of it"
            )
            assert get_counts(engine, "metrics")["state"] == "ok"
