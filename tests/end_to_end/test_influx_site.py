"""A site with its telemetry and metrics in an InfluxDB: jobs read late rows, results are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catcher.model.time import SECOND, wall_clock
from tests.servers import influx_ask, influx_write, influxd
from tests.small_site import engine_in_thread, write_site

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
def test_a_job_waits_for_rows_that_come_late_and_its_metrics_arrive(tmp_path: Path) -> None:
    with influxd(tmp_path / "influx", ("efd", "metrics")) as server:
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

        def rows(first: int, last: int) -> None:
            influx_write(server.port, "efd", [
                f"lsst.sal.ESS.airFlow salIndex={index}i,speed={n + index} {time + index - 301}"
                for n in range(first, last + 1) for index in (301, 302)
                for time in (end + n * SECOND,)
            ])  # fmt: skip

        rows(-60, -3)
        site = write_site(tmp_path / "site", RULE, settings=settings, jobs=JOB)
        with engine_in_thread(site, tmp_path / "data") as engine:
            fields = {"imageName": "MC_1", "seconds": 10}
            event = {"topic": "readout", "time": end / SECOND, "fields": fields}
            assert engine.ask("POST", "/events", json=event).status_code == 202
            # It is only now that the rest comes: a run that did not wait would have missed it.
            engine.until(lambda: engine.get("/runs"), "the run")
            rows(-2, 0)
            run = engine.the_run(rule="mean-wind")
            shown = engine.get(f"/runs/{run['id']}")

            def written() -> bool:
                asked = 'SELECT "mean", "n" FROM "catcher.mean-wind"'
                answer = json.loads(influx_ask(server.port, asked, "metrics"))
                return "series" in answer["results"][0]

            engine.until(written, "the metrics in the InfluxDB")
    assert shown["metrics"]["n"]["value"] == 11
    assert shown["metrics"]["mean"]["value"] == pytest.approx(301 - 5)
    (record,) = shown["inputs"]
    assert (record["whole"], record["samples"]) == ("whole", 11)
