"""Files are kept as a Large File Annex has them, and each is told of when it is there."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from tests.servers import S3_KEYS, mosquitto, require, s3
from tests.small_site import DOUBLING, engine_in_thread, write_site


@pytest.mark.server
async def test_a_file_is_told_of_as_sal_does_and_is_there(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, s3(tmp_path / "s3", "lfa") as bucket:
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
        heard = await asyncio.create_subprocess_exec(
            require("mosquitto_sub"), "-p", str(broker.port), "-t", "sal/#", "-v", "-C", "1",
            "-W", "60", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

        def work() -> None:
            site = write_site(tmp_path / "site", DOUBLING, settings=settings)
            with engine_in_thread(site, tmp_path / "data") as engine:
                engine.post("number", value=21, lane=1)
                assert engine.the_run(rule="doubling")

        await asyncio.to_thread(work)
        output, _ = await heard.communicate()
    place, _, text = output.decode().partition(" ")
    assert place == "sal/Catcher/logevent_largeFileObjectAvailable"
    told = json.loads(text)
    assert told["url"].startswith("s3://lfa/Catcher%3A3/doubling_words/")
    (file,) = (tmp_path / "s3" / "buckets" / "lfa" / "Catcher:3" / "doubling_words").rglob("*.txt")
    assert file.name.startswith("Catcher:3_doubling_words_20")
    data = file.read_bytes()
    assert (told["byteSize"], told["checkSum"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (told["salIndex"], told["generator"], told["version"]) == (3, "doubling_words", 1.0)
    assert told["mimeType"].startswith("text/plain")
