"""What the composition root makes of a site's own parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catcher.app import load_site
from catcher.app.assembling import site_links
from tests.alerting.making import alert
from tests.small_site import WIND, engine_in_thread, write_site

SINK = '''
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


def write_own_sink(folder: Path, **settings: str) -> Path:
    said = json.dumps({**settings, "token": "${SINK_TOKEN}"})
    site = write_site(folder, WIND, routes=f"sinks: {{own: {{own: {said}}}}}\nroute: {{to: [own]}}")
    (site / "alerts/sinks").mkdir()
    (site / "alerts/sinks/own.py").write_text(SINK)
    return site


def test_a_sites_own_sink_gets_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINK_TOKEN", "whisper-1234")
    heard = tmp_path / "heard"
    site = write_own_sink(tmp_path / "site", file=str(heard))
    assert "whisper" not in repr(load_site(site))
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post("wind", mast=1, speed=12)
        engine.until(lambda: heard.exists() and heard.read_text(), "the delivery")
    headline, settings = json.loads(heard.read_text())
    assert headline.startswith("WARNING")
    assert settings == {"file": str(heard), "token": "whisper-1234"}


def test_its_failure_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINK_TOKEN", "whisper-1234")
    site = write_own_sink(tmp_path / "site", fail="yes")
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post("wind", mast=1, speed=12)

        def problem() -> str:
            (own,) = [row for row in engine.get("/health") if row["name"] == "own"]
            words: str = own["problem"]
            return words

        assert "*** was refused" in engine.until(problem, "the failure")


def test_links_are_filled_in_for_each_alert(tmp_path: Path) -> None:
    links = (
        "{board: 'https://b/{alert}', rubintv: 'https://r/{id}', wiki: 'https://w/{rule}?{key}'}"
    )
    site = load_site(write_site(tmp_path / "site", WIND, settings=f"site: small\nlinks: {links}"))
    whole, one = site_links(site)(alert(key="a/b")), alert(key="", per="MC_O_1 &")
    assert whole == {
        "board": f"https://b/{alert(key='a/b').id}",
        "wiki": "https://w/wind-high?a%2Fb",
    }
    assert site_links(site)(one)["rubintv"] == "https://r/MC_O_1%20%26"
