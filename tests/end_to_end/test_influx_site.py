"""A site with its telemetry and metrics in an InfluxDB: jobs read late rows, results are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catcher.model.time import SECOND, wall_clock
from tests.sample_site import engine_in_thread, write_site
from tests.servers import query_influx, run_influxd, write_influx

RULE = """
rule: mean-wind
trigger: {event: readout, once_per: imageName}
job:
  run: mean_wind
  inputs:
    wind:
      {topic: lsst.sal.ESS.airFlow, fields: [speed], where: salIndex == 301, during: exposure}
"""
JOB = '''
from catcher import Metric, Result, Series, job


@job
async def mean_wind(wind: Series) -> Result:
    """The mean of what blew."""
    return Result({"mean": Metric(float(wind["speed"].mean()), "m/s"), "n": len(wind)})
'''


@pytest.mark.server
def test_job_waits_for_late_rows_and_its_metrics_are_written(tmp_path: Path) -> None:
    with run_influxd(tmp_path / "influx", ("efd", "metrics")) as server:
        url = f"http://127.0.0.1:{server.port}"
        settings = f"""
site: small
stores:
  history: {{influxdb: {{url: "{url}", database: efd, lag: 1h}}}}
  metrics: {{influxdb: {{url: "{url}", bucket: metrics}}}}
  patience: 60s
observations:
  exposure: {{event: readout, id: imageName, length: seconds}}
"""
        end = wall_clock() // SECOND * SECOND

        def write_rows(first: int, last: int) -> None:
            write_influx(server.port, "efd", [
                f"lsst.sal.ESS.airFlow salIndex={index}i,speed={n + index} {time + index - 301}"
                for n in range(first, last + 1) for index in (301, 302)
                for time in (end + n * SECOND,)
            ])  # fmt: skip

        write_rows(-60, -3)
        site = write_site(tmp_path / "site", RULE, settings=settings, jobs=JOB)
        with engine_in_thread(site, tmp_path / "data") as engine:
            fields = {"imageName": "MC_1", "seconds": 10}
            event = {"topic": "readout", "time": end / SECOND, "fields": fields}
            assert engine.request("POST", "/events", json=event).status_code == 202
            # It is only now that the rest comes: a run that did not wait would have missed it.
            engine.wait_until(lambda: engine.get("/runs"), "the run")
            write_rows(-2, 0)
            run = engine.wait_for_run(rule="mean-wind")
            run_details = engine.get(f"/runs/{run['id']}")

            def has_metrics() -> bool:
                query = 'SELECT "mean", "n" FROM "catcher.mean-wind"'
                response = json.loads(query_influx(server.port, query, "metrics"))
                return "series" in response["results"][0]

            engine.wait_until(has_metrics, "the metrics in the InfluxDB")
    assert run_details["metrics"]["n"]["value"] == 11
    assert run_details["metrics"]["mean"]["value"] == pytest.approx(301 - 5)
    (record,) = run_details["inputs"]
    assert (record["whole"], record["samples"]) == ("whole", 11)
