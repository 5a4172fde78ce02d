"""`catcher.yaml`: the whole of it, the defaults, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.evaluation import SourceClock
from catcher.model.observation import ObservationSpec
from catcher.model.time import SECOND
from catcher.site import ApiSettings, LimitSettings, Site, SiteLocation, SiteSettings
from tests.site.site_files import list_problem_texts, load_site

FOLDER = Path(__file__).parent


def load_site_with(tmp_path: Path, text: str | bytes) -> Site:
    return load_site(tmp_path, {"catcher.yaml": text})


def load_settings(tmp_path: Path, text: str) -> SiteSettings:
    site = load_site_with(tmp_path, text)
    assert list_problem_texts(site) == []
    return site.settings


def test_the_example_of_the_design(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, (FOLDER / "design_catcher.yaml").read_text(encoding="utf-8"))
    assert settings.site == "cerro-pachon"
    assert settings.location == SiteLocation(-30.2446, -70.7494)
    source = settings.sources["efd"]
    assert source.adapter.kind == "mqtt"
    assert source.adapter.name == "efd"
    assert source.adapter.to_dict() == {
        "host": "localhost",
        "port": 1883,
        "topics": {"sal/+/+": "lsst.sal.{1}.{2}"},
        "time": "private_sndStamp",
        "scale": "tai",
    }
    assert source.clock == SourceClock(clock="wall", lateness=2 * SECOND)
    stores = settings.stores
    kinds = [stores.ledger.kind, stores.history.kind, stores.metrics.kind, stores.objects.kind]
    assert kinds == ["sqlite", "embedded", "ledger", "file"]
    assert settings.executor.kind == "local"
    assert settings.observations == {
        "exposure": ObservationSpec(
            kind="exposure",
            event="lsst.sal.MTCamera.logevent_endReadout",
            id="imageName",
            start="timestampAcquisitionStart",
            length="requestedExposureTime",
            scale="tai",
            image="/data/{id}/{detector}.fits",
            columns={"band": "filterName"},
        )
    }
    assert settings.links == {"rubintv": "https://…/{id}"}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_all_of_it_is_optional(tmp_path: Path, text: str) -> None:
    settings = load_settings(tmp_path, text)
    assert settings == SiteSettings(site=tmp_path.name)
    assert settings.api == ApiSettings("127.0.0.1", 8787, None)
    assert settings.stores.ledger.kind == "sqlite"
    assert settings.executor.kind == "local"


def test_recording_uses_stream_time_by_default(tmp_path: Path) -> None:
    sources = load_settings(
        tmp_path,
        "sources:\n  a: {replay: {}}\n  b: {simulator: {}}\n  c: {http: {}}\n"
        "  d: {replay: {}, clock: wall}\n",
    ).sources
    clocks = {name: source.clock.clock for name, source in sources.items()}
    assert clocks == {"a": "stream", "b": "stream", "c": "wall", "d": "wall"}


def test_source_configures_its_lateness(tmp_path: Path) -> None:
    text = "sources: {a: {mqtt: {}, lateness: 0s, reorder: 500ms, max_ahead: 1m}}\n"
    clock = load_settings(tmp_path, text).sources["a"].clock
    assert clock == SourceClock("wall", 0, SECOND // 2, 60 * SECOND)


def test_stores_by_name_by_url_and_with_settings(tmp_path: Path) -> None:
    stores = load_settings(
        tmp_path,
        "stores:\n  history: {embedded: {horizon: 6h}}\n  objects: s3://bucket/prefix\n"
        "  metrics: {influxdb: {url: 'http://localhost:8086', bucket: efd}}\n",
    ).stores
    assert stores.history.to_dict() == {"horizon": "6h"}
    assert (stores.objects.kind, stores.objects.to_dict()) == ("s3", {"url": "s3://bucket/prefix"})
    assert stores.metrics.kind == "influxdb"
    assert stores.spool is None
    assert load_settings(tmp_path, "stores: {spool: 2GB}\n").stores.spool == 2 * 10**9


def test_a_ledger_on_a_server_by_its_address(tmp_path: Path) -> None:
    ledger = load_settings(
        tmp_path, "stores: {ledger: 'postgresql://u:hunter22@h/db'}\n"
    ).stores.ledger
    assert ledger.kind == "postgresql"
    assert "hunter22" not in repr(ledger)


def test_limits_and_data(tmp_path: Path) -> None:
    settings = load_settings(
        tmp_path, "limits: {workers: 4, memory: 2GiB, payload: 1.5 MB, stop: 30s}\ndata: ./kept\n"
    )
    assert settings.limits == LimitSettings(4, 2 * 2**30, 1_500_000, 30 * SECOND)
    assert settings.data == tmp_path / "kept"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites: x\n", "1:1: catcher.yaml has no key 'sites'; did you mean 'site'?"),
        ("- a\n", "1:1: catcher.yaml takes a mapping, not a list; "
                  "write it like site: my-observatory"),
        ("location: {latitude: 91, longitude: 0}\n",
         "1:22: `latitude` takes a number from -90 to 90, not 91"),
        ("sources: {efd: mqtt}\n",
         "1:16: the source 'efd' takes a mapping, not 'mqtt'; write it like efd: {mqtt: {…}}"),
        ("sources: {efd: {mqt: {}}}\n",
         "1:17: the source 'efd' has no key 'mqt'; did you mean 'mqtt'?"),
        ("sources: {efd: {clock: wall}}\n",
         "1:16: the source 'efd' does not say what kind it is; "
         "give exactly one of mqtt, kafka, influxdb, replay, simulator, http, "
         "as {kind: {settings}}"),
        ("sources: {efd: {mqtt: {}, http: {}}}\n",
         "1:16: the source 'efd' names both `mqtt` and `http`; "
         "give exactly one of mqtt, kafka, influxdb, replay, simulator, http, "
         "as {kind: {settings}}"),
        ("stores: {spool: much}\n",
         "1:17: `spool` takes a size, not 'much'; write it like 512MB or 2GiB"),
        ("stores: {records: {a.b: {consdb: {url: 'http://x'}}}}\n",
         "1:20: 'a.b' cannot be the name of records; leave the dots out: topics are NAME.TABLE"),
        ("stores: {records: {c: {consdbb: {}}}}\n",
         "1:24: the records 'c' has no key 'consdbb'; did you mean 'consdb'?"),
        ("stores: {large_files: {salname: ../x}}\n",
         "1:33: '../x' cannot be the name of a component; use letters, digits and _"),
        ("stores: {history: influx}\n",
         "1:19: `history` cannot be 'influx'; did you mean 'influxdb'?"),
        ("stores: {ledger: mysql}\n",
         "1:18: `ledger` cannot be 'mysql'; choose from sqlite, postgresql"),
        ("stores: {objects: 'ftp://x'}\n",
         "1:20: `objects` cannot be 'ftp://'; choose from file, s3, gcs, azure"),
        ("executor: 'dusk://h:8786'\n",
         "1:12: `executor` cannot be 'dusk://'; did you mean 'dask'?"),
        ("observations: {exposure: {event: T}}\n",
         "1:26: the observation 'exposure' lacks `id`; "
         "name the event that declares an observation, and the field that holds its id"),
        ("links: {a: 'javascript:alert(1)'}\n",
         "1:13: the link 'a' is no web address; write it like https://…/{id}"),
        ("api: {host: 0.0.0.0}\n",
         "1:13: `host` '0.0.0.0' is open to the network; "
         "add token: ${CATCHER_TOKEN}, or listen on 127.0.0.1"),
        ("api: {port: 99999}\n",
         "1:13: `port` takes a whole number from 0 to 65535, not 99999"),
        ("api: {port: ${PORT}}\n",
         "1:14: a text with ${…} among { } needs quotes; write it like '${NAME}'"),
        ("limits: {memory: 2 gigs}\n",
         "1:18: `memory` takes a size, not '2 gigs'; write it like 512MB or 2GiB"),
        ("site: a\n---\nsite: b\n",
         "3:1: catcher.yaml holds one document, and a second one starts here; "
         "delete the --- between the two"),
    ],
)  # fmt: skip
def test_mistake_is_reported_and_the_rest_is_valid(tmp_path: Path, text: str, message: str) -> None:
    site = load_site_with(tmp_path, text)
    assert list_problem_texts(site) == [f"catcher.yaml:{message}"]
    assert site.config_errors == list(site.problems)
    assert site.settings.api.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea\0", "1:1: the file is UTF-16; save it as UTF-8"),
        (b"a: 1\nsite: caf\xe9\n", "2:10: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"x: " + b"a" * 10_000_000, "1:1: the file is larger than 1 MB; "
                                     "split it into several files"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    assert list_problem_texts(load_site_with(tmp_path, content)) == [f"catcher.yaml:{message}"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, b"\xef\xbb\xbfsite: x\r\napi: {port: 1}\r\n")
    assert list_problem_texts(site) == []
    assert (site.settings.site, site.settings.api.port) == ("x", 1)


def test_token_allows_the_api_on_the_network(tmp_path: Path) -> None:
    site = load_site(
        tmp_path, {"catcher.yaml": "api: {host: '::', token: '${T}'}\n"}, {"T": "long-token"}
    )
    assert list_problem_texts(site) == []
    assert site.settings.api.host == "::"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3", "[::1]"])
def test_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    assert load_settings(tmp_path, f"api: {{host: '{host}'}}\n").api.host == host
