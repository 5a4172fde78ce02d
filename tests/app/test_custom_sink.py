"""What the composition root makes of a site's own parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catcher.app import load_site
from catcher.app.composition import build_link_factory
from tests.alerting.builders import create_alert
from tests.sample_site import WIND, engine_in_thread, write_site

SINK_CODE = '''
"""Writes what it is given into a file; fails with its token at the word `fail`."""

import asyncio
import json
from pathlib import Path


async def deliver(notice, message, settings):
    """Called for each notice."""
    if settings.get("fail"):
        raise RuntimeError(f"{settings['token']} was refused")
    line = json.dumps([message.headline, settings])
    await asyncio.to_thread(Path(settings["file"]).write_text, line)
'''


def write_site_with_sink(folder: Path, **settings: str) -> Path:
    settings_text = json.dumps({**settings, "token": "${SINK_TOKEN}"})
    site = write_site(
        folder, WIND, routes=f"sinks: {{own: {{own: {settings_text}}}}}\nroute: {{to: [own]}}"
    )
    (site / "alerts/sinks").mkdir()
    (site / "alerts/sinks/own.py").write_text(SINK_CODE)
    return site


def test_custom_sink_gets_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINK_TOKEN", "whisper-1234")
    output_file = tmp_path / "heard"
    site = write_site_with_sink(tmp_path / "site", file=str(output_file))
    assert "whisper" not in repr(load_site(site))
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post_event("wind", mast=1, speed=12)
        engine.wait_until(lambda: output_file.exists() and output_file.read_text(), "the delivery")
    headline, settings = json.loads(output_file.read_text())
    assert headline.startswith("WARNING")
    assert settings == {"file": str(output_file), "token": "whisper-1234"}


def test_failure_of_a_custom_sink_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINK_TOKEN", "whisper-1234")
    site = write_site_with_sink(tmp_path / "site", fail="yes")
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post_event("wind", mast=1, speed=12)

        def get_problem() -> str:
            (row,) = [row for row in engine.get("/health") if row["name"] == "own"]
            problem_text: str = row["problem"]
            return problem_text

        assert "*** was refused" in engine.wait_until(get_problem, "the failure")


def test_links_are_formatted_for_each_alert(tmp_path: Path) -> None:
    links = (
        "{board: 'https://b/{alert}', rubintv: 'https://r/{id}', wiki: 'https://w/{rule}?{key}'}"
    )
    site = load_site(write_site(tmp_path / "site", WIND, settings=f"site: small\nlinks: {links}"))
    key_links, exposure_alert = (
        build_link_factory(site)(create_alert(key="a/b")),
        create_alert(key="", per="MC_O_1 &"),
    )
    assert key_links == {
        "board": f"https://b/{create_alert(key='a/b').id}",
        "wiki": "https://w/wind-high?a%2Fb",
    }
    assert build_link_factory(site)(exposure_alert)["rubintv"] == "https://r/MC_O_1%20%26"
