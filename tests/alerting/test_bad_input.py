"""Whatever names, messages and people bring: plain text, bounded, and nothing breaks."""

from __future__ import annotations

import pytest

from catcher.alerting import AlertService, Route
from catcher.model.time import HOUR
from tests.alerting.builders import (
    SERIOUS,
    UNFILTERED,
    WARNING,
    create_change,
    create_rule,
    create_service,
    instant_at,
)

HOSTILE_TEXTS = [
    "{{ 7 * 7 }}",
    "<script>alert(1)</script>",
    "\x1b]8;;http://evil\x07\x1b[31mred",
    "\u202egnirts\u202c desrever",
    "@channel <!here> <@U123>",
    "x" * 1_000_000,
    "",
    "\ud800 lone \x00 null",
    "line\nbreak\r\nand more",
]


def create_service_with_group(text: str) -> AlertService:
    """Two alerts in a group, named and labelled so."""
    labels = {"place": text}
    service = create_service(
        create_rule(message="{{ what }}", labels=labels),
        route=Route(to=("console",), group_by=("key", "place")), noise_limits=UNFILTERED,
    )  # fmt: skip
    for per in "ab":
        change = create_change(WARNING, key=text, per=per, reason=text, values={"what": text})
        service.apply_level_change(change, instant_at(0))
    return service


def is_plain(text: str, limit: int) -> bool:
    return len(text) <= limit and not set(text) & set("\x1b\n\r\x00\u202e\u202c\ud800")


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:20]))
def test_event_data_is_plain_in_messages(text: str) -> None:
    service = create_service_with_group(text)
    (notification,) = service.tick(instant_at(6)).notifications
    assert notification.alert.message.startswith("2 alerts: 2 wind-high")
    assert is_plain(notification.alert.message, 3_000) and is_plain(notification.alert.key, 300)
    for alert in service.list_active():
        assert is_plain(alert.message, 1_000) and is_plain(alert.reason, 1_000)
        assert "49" not in alert.message, "event data is no template"


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:20]))
def test_operator_input_is_plain_and_bounded(text: str) -> None:
    service = create_service_with_group("mast")
    alert_id, nonempty_text = service.list_active()[0].id, text.strip() or "nothing"
    service.acknowledge_alert(alert_id, SERIOUS, "ana", text, instant_at(7), "cli")
    service.add_comment(alert_id, nonempty_text, f"ana {text}", instant_at(8), "cli")
    service.assign_alert(alert_id, nonempty_text, "ana", instant_at(8), "cli")
    changes = service.shelve_alert(
        alert_id, instant_at(8) + HOUR, "ana", nonempty_text, instant_at(8), "cli"
    )
    silence = service.add_silence(
        nonempty_text,
        {nonempty_text: text},
        SERIOUS,
        instant_at(HOUR // 10**9),
        "ana",
        nonempty_text,
        instant_at(9),
        "cli",
    ).silences[0]
    alert = changes.alerts[0]
    assert alert.shelf is not None and is_plain(alert.shelf.reason, 4_000)
    assert is_plain(alert.notes[0].text, 4_000) and is_plain(alert.notes[0].who, 100)
    assert is_plain(alert.assignee, 100) and is_plain(alert.aside, 5_000)
    assert is_plain(silence.name, 500) and is_plain(silence.reason, 1_000)
    assert all(is_plain(name + glob, 400) for name, glob in silence.labels.items())
    assert is_plain(changes.audit[0].who, 100)


def test_number_of_comments_is_bounded() -> None:
    service = create_service_with_group("mast")
    alert_id = service.list_active()[0].id
    for number in range(200):
        service.add_comment(alert_id, f"note {number}", "ana", instant_at(number), "cli")
    comments = service.get_alert(alert_id).notes
    assert len(comments) == 50 and comments[-1].text == "note 199"
