"""An engine whose object store and metric store are away: results and alerts go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers import S3_KEYS, s3, victoria_metrics
from tests.small_site import DOUBLING, ThreadedEngine, engine_in_thread, write_site

SETTINGS = """
site: small
stores:
  ledger: {{sqlite: {{synchronous: full}}}}
  metrics: {{influxdb: {{url: "http://127.0.0.1:{metrics}", bucket: night, longest_pause: 0.1}}}}
  objects: {{s3: {{url: "s3://catcher/site", endpoint: "http://127.0.0.1:{objects}",
                 region: us-east-1, access_key: {access}, secret_key: {secret}, timeout: 2}}}}
  spool: 10MB
"""


def counts(engine: ThreadedEngine, name: str) -> dict[str, Any]:
    (found,) = [row for row in engine.get("/health") if row["name"] == name]
    return {"state": found["state"], **found["counts"]}


@pytest.mark.server
def test_what_stores_that_are_away_did_not_take_they_have_when_they_are_back(
    tmp_path: Path,
) -> None:
    with victoria_metrics(tmp_path / "metrics") as metrics, s3(tmp_path / "s3") as objects:
        access, secret = S3_KEYS
        settings = SETTINGS.format(
            metrics=metrics.port, objects=objects.port, access=access, secret=secret
        )
        site = write_site(tmp_path / "site", DOUBLING, settings=settings)
        metrics.stop()
        objects.stop()
        with engine_in_thread(site, tmp_path / "data") as engine:
            engine.post("number", value=21, lane="a")
            run = engine.the_run(state="done")
            assert run["metrics"] == {"doubled": 42.0}
            (artifact,) = run["artifacts"]
            engine.until(lambda: counts(engine, "metrics")["waiting"] == 1, "the wait")
            assert counts(engine, "metrics")["state"] == "away"
            assert counts(engine, "objects")["waiting"] == 1
            assert engine.ask("GET", f"/artifacts/{artifact['key']}").text == "42.0"
        with engine_in_thread(site, tmp_path / "data") as engine:
            assert engine.ask("GET", f"/artifacts/{artifact['key']}").text == "42.0"
            metrics.start()
            objects.start()
            engine.until(lambda: counts(engine, "metrics")["written"] == 1, "the export")
            engine.until(lambda: not counts(engine, "objects")["waiting"], "the upload")
            kept = tmp_path / "s3" / "buckets" / "catcher" / "site" / artifact["key"]
            assert kept.read_text() == "42.0"
            engine.until(lambda: counts(engine, "objects")["state"] == "ok", "the end of it")
            assert counts(engine, "metrics")["state"] == "ok"
