"""MQTT topics become the names of streams."""

from __future__ import annotations

import pytest

from catcher.model.errors import CatcherError
from catcher.sources.mqtt import MqttSourceSettings


def map_topic(topics: dict[str, object], topic: str) -> str | None:
    match = MqttSourceSettings(topics=topics).build_topic_map().find_stream(topic.encode())
    return match[0] if match else None


@pytest.mark.parametrize(
    ("text", "template", "topic", "expected"),
    [
        ("sal/+/+", "lsst.sal.{1}.{2}", "sal/MTMount/azimuth", "lsst.sal.MTMount.azimuth"),
        ("sal/+/+", "lsst.sal.{2}.{1}", "sal/a/b", "lsst.sal.b.a"),
        ("sal/+/+", "x", "sal/a", None),
        ("sal/+/+", "x", "sal/a/b/c", None),
        ("ess/#", "ess.{1}", "ess/301/air/flow", "ess.301.air.flow"),
        ("ess/#", "ess{1}", "ess", "ess"),
        ("#", "all.{1}", "a/b", "all.a.b"),
        ("#", "all.{1}", "$SYS/uptime", None),
        ("+/b", "{1}", "$SYS/b", None),
        ("$SYS/#", "sys.{1}", "$SYS/broker/uptime", "sys.broker.uptime"),
        ("a.b/c", "fixed", "a.b/c", "fixed"),
        ("a.b/c", "fixed", "axb/c", None),
        ("$share/engines/sal/+", "lsst.{1}", "sal/x", "lsst.x"),
    ],
)
def test_a_filter_names_what_fits_it(
    text: str, template: str, topic: str, expected: str | None
) -> None:
    assert map_topic({text: template}, topic) == expected


def test_the_first_filter_that_fits_counts() -> None:
    topics: dict[str, object] = {"a/b": "special", "a/+": "general.{1}"}
    assert map_topic(topics, "a/b") == "special"
    assert map_topic(topics, "a/c") == "general.c"


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        ({}, "hears nothing"),
        ({"sal/+": "x.{2}"}, "{2} in 'x.{2}' stands for nothing: 'sal/+' has 1 wildcards"),
        ({"sal/+": "x.{name}"}, "{name}"),
        ({"sal/#/x": "x"}, "is no MQTT topic filter"),
        ({"sal/a+": "x"}, "is no MQTT topic filter"),
        ({"": "x"}, "is empty"),
        ({"a": ""}, "gives no name"),
        ({"a": 7}, "is given no name"),
        ({"a": {"qos": 1}}, "gives no name"),
        ({"a": {"name": "x", "qso": 1}}, "unknown key 'qso'"),
        ({"a": {"name": "x", "qos": 3}}, "qos is 0, 1 or 2"),
        ({"$share/g": "x"}, "is no shared subscription"),
    ],
)
def test_impossible_topic_mappings_are_refused(topics: dict[str, object], message: str) -> None:
    with pytest.raises(CatcherError) as error_info:
        MqttSourceSettings(topics=topics)
    assert message in str(error_info.value)


def test_results_cannot_be_forged_from_outside() -> None:
    with pytest.raises(ValueError, match="are results"):
        map_topic({"#": "{1}"}, "catcher/mount-jitter")


def test_a_topic_that_is_not_utf8_is_named() -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        MqttSourceSettings(topics={"#": "x"}).build_topic_map().find_stream(b"a\xff")
