"""An adapter's settings from its section, by the annotations of its own class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from catcher.model.errors import CatcherError
from catcher.model.time import HOUR, SECOND, Span
from catcher.site import AdapterSection, Site
from tests.site.site_files import list_problem_texts, load_site


@dataclass(frozen=True, slots=True)
class SampleTlsSettings:
    """What a nested section looks like."""

    ca: Path
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class SampleBrokerSettings:
    """One key of every kind."""

    host: str
    port: int = 1883
    topics: Mapping[str, str] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    scale: Literal["utc", "tai"] = "utc"
    qos: Literal[0, 1, 2] = 0
    keepalive: Span = 60 * SECOND
    pause: float = 1.0
    limit: int | None = None
    tls: SampleTlsSettings | None = None
    password: str = field(default="", repr=False)
    from_: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.port == 1:
            raise CatcherError("port 1 is taken", "choose another")


ADAPTERS = {("source", "mqtt"): SampleBrokerSettings}


def load_site_with(tmp_path: Path, text: str) -> Site:
    files = {"catcher.yaml": f"sources: {{efd: {{mqtt: {text}}}}}\n"}
    return load_site(tmp_path, files, {"PASSWORD": "hunter22", "PORT": "1884"}, ADAPTERS)


def get_section(site: Site) -> AdapterSection:
    return site.settings.sources["efd"].adapter


def test_every_key_is_converted_by_its_annotation(tmp_path: Path) -> None:
    site = load_site_with(
        tmp_path,
        "{host: h, port: '${PORT}', topics: {a: b}, filters: [x, y], scale: tai, qos: 1, "
        "keepalive: 1h, pause: 2, limit: 5, tls: {ca: /c, insecure: true}, "
        "password: '${PASSWORD}', from: f, more: {x: [1, {y: 2}]}}",
    )
    assert list_problem_texts(site) == []
    assert get_section(site).bind_settings(SampleBrokerSettings) == SampleBrokerSettings(
        host="h",
        port=1884,
        topics={"a": "b"},
        filters=("x", "y"),
        scale="tai",
        qos=1,
        keepalive=HOUR,
        pause=2.0,
        limit=5,
        tls=SampleTlsSettings(Path("/c"), True),
        password="hunter22",
        from_="f",
        more={"x": [1, {"y": 2}]},
    )


def test_omitted_key_has_its_default(tmp_path: Path) -> None:
    assert get_section(load_site_with(tmp_path, "{host: h}")).bind_settings(
        SampleBrokerSettings
    ) == SampleBrokerSettings("h")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "1:23: mqtt lacks `host`; write host: below mqtt:"),
        ("{hst: h}", "1:24: mqtt has no key 'hst'; did you mean 'host'?"),
        ("{host: h, port: high}", "1:39: `port` takes a whole number, not 'high'"),
        ("{host: h, scale: gps}", "1:40: `scale` cannot be 'gps'; choose from utc, tai"),
        ("{host: h, qos: 3}", "1:38: `qos` cannot be 3; choose from 0, 1, 2"),
        ("{host: h, keepalive: 60}",
         "1:44: `keepalive` takes a duration, not 60; did you mean 60s?"),
        ("{host: h, pause: []}", "1:40: `pause` takes a number, not a list; "
                                 "put a text that starts with { or [ in quotes"),
        ("{host: h, topics: [a]}", "1:41: `topics` takes a mapping, not a list; "
                                   "write it as `key: value` on lines of its own, indented"),
        ("{host: h, tls: {insecure: true}}", "1:38: `tls` lacks `ca`; write ca: below `tls`:"),
        ("{host: h, tls: {ca: c, insecure: 1}}",
         "1:56: `insecure` is true or false, not 1; write true or false, in small letters"),
        ("{host: h, port: 1}", "1:23: port 1 is taken; choose another"),
    ],
)  # fmt: skip
def test_mistake_is_reported_at_its_location(tmp_path: Path, text: str, message: str) -> None:
    site = load_site_with(tmp_path, text)
    assert list_problem_texts(site) == [f"catcher.yaml:{message}"]
    assert dict(site.settings.sources) == {}


def test_late_binding_raises_the_same_error(tmp_path: Path) -> None:
    section = get_section(load_site(tmp_path, {"catcher.yaml": "sources: {efd: {mqtt: {}}}\n"}))
    with pytest.raises(CatcherError, match=r"catcher\.yaml:1:23: mqtt lacks `host`"):
        section.bind_settings(SampleBrokerSettings)
