"""Files are kept as a Large File Annex has them, and each is told of when it is there."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from tests.sample_site import DOUBLING, engine_in_thread, write_site
from tests.servers import S3_KEYS, require_program, run_mosquitto, run_s3


@pytest.mark.server
async def test_file_is_announced_as_sal_does_and_exists(tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker") as broker, run_s3(tmp_path / "s3", "lfa") as bucket:
        settings = f"""
site: summit
stores:
  objects:
    s3: {{url: s3://lfa, endpoint: "http://127.0.0.1:{bucket.port}", region: us-east-1,
         access_key: {S3_KEYS[0]}, secret_key: {S3_KEYS[1]}}}
  large_files: {{salname: Catcher, index: 3}}
announce:
  mqtt: {{host: 127.0.0.1, port: {broker.port}}}
"""
        subscriber = await asyncio.create_subprocess_exec(
            require_program("mosquitto_sub"),
            "-p",
            str(broker.port),
            "-t",
            "sal/#",
            "-v",
            "-C",
            "1",
            "-W",
            "60",
            stdout=asyncio.subprocess.PIPE,
        )

        def run_job() -> None:
            site = write_site(tmp_path / "site", DOUBLING, settings=settings)
            with engine_in_thread(site, tmp_path / "data") as engine:
                engine.post_event("number", value=21, lane=1)
                assert engine.wait_for_run(rule="doubling")

        await asyncio.to_thread(run_job)
        output, _ = await subscriber.communicate()
    topic, _, payload = output.decode().partition(" ")
    assert topic == "sal/Catcher/logevent_largeFileObjectAvailable"
    message = json.loads(payload)
    assert message["url"].startswith("s3://lfa/Catcher%3A3/doubling_words/")
    (file,) = (tmp_path / "s3" / "buckets" / "lfa" / "Catcher:3" / "doubling_words").rglob("*.txt")
    assert file.name.startswith("Catcher:3_doubling_words_20")
    data = file.read_bytes()
    assert (message["byteSize"], message["checkSum"]) == (
        len(data),
        hashlib.sha256(data).hexdigest(),
    )
    assert (message["salIndex"], message["generator"], message["version"]) == (
        3,
        "doubling_words",
        1.0,
    )
    assert message["mimeType"].startswith("text/plain")
