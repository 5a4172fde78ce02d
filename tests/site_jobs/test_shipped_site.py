"""The site that ships: it loads without a problem, and its commented guide is right."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from catcher.site import load_site_folder

ROOT = Path(__file__).parents[2]
RULES = {
    "auxtel-jitter",
    "cluster-away",
    "day-after",
    "images",
    "mount-in-position",
    "mount-jitter",
    "psf-rising",
    "script-failed",
    "wind-forecast",
    "wind-high",
}


def test_the_site_has_its_rules_and_jobs_and_no_problem() -> None:
    site = load_site_folder(ROOT)
    assert [str(problem) for problem in site.problems] == []
    assert set(site.rules) == RULES
    assert site.registry.list_job_names() == [
        "auxtel_jitter",
        "look_again",
        "mount_jitter",
        "night_summary",
        "rapid_image_metrics",
        "visit_summary",
        "wind_extrapolation",
    ]
    assert site.settings.observations["exposure"].scale == "tai"
    assert list(site.sinks) == ["console"]


def uncomment_yaml(text: str) -> str:
    """The file with its commented-out YAML switched on; headings and prose stay comments."""
    lines = []
    for line in text.splitlines():
        match = re.match(r"(\s*)# (\s*(?:-\s)?[\w-]+:(?:\s.*)?)$", line)
        lines.append(match[1] + match[2] if match else line)
    return "\n".join(lines) + "\n"


SECRETS = (
    "SLACK_TOKEN", "SLACK_APP_TOKEN", "LOVE_PASSWORD", "MQTT_PASSWORD", "INFLUX_TOKEN",
    "NARRATIVE_LOG_TOKEN", "MAIL_PASSWORD", "PING_KEY", "CATCHER_TOKEN", "TELEGRAF_TOKEN",
    "KAFKA_PASSWORD", "EFD_PASSWORD", "RSP_TOKEN", "S3_KEY", "S3_SECRET", "NOTEBOOK_TOKEN",
)  # fmt: skip


def test_what_the_guide_says_in_comments_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "a-secret-of-some-length")
    for folder in ("rules", "jobs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "alerts", tmp_path / "alerts")
    for name in ("catcher.yaml", "alerts/routes.yaml"):
        (tmp_path / name).write_text(uncomment_yaml((ROOT / name).read_text()))
    site = load_site_folder(tmp_path)
    assert set(site.settings.sources) == {"efd", "archive", "summit-kafka", "usdf-efd"}
    assert set(site.sinks) == {
        "console", "tma-slack", "love", "broker", "narrative-log", "night-mail", "night-journal",
    }  # fmt: skip
    errors = [problem for problem in site.problems if problem.severity == "error"]
    assert not errors
    assert site.settings.limits.workers == 4
    assert len(site.routes.route.routes) == 2
