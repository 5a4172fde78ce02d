"""The messages of `check` and of a rule's tests, to the byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from catcher.authoring.field_checks import check_fields
from catcher.model.telemetry import FieldInfo
from catcher.site import load_site_folder
from tests.cli.command_runner import run_command
from tests.goldens.compare import GOLDEN_FOLDER, compare_text, replace_texts
from tests.sample_site import write_site

SITE_COLLECTIONS = ("rules", "settings", "routes")
VALID_RULE = "rule: fine\ntrigger: {event: t}\n"
ODD_FILES = {
    "rules/bell.yaml": b"rule: bell\nabout: a \x07 bell\ntrigger: {event: t}\n",
    "rules/latin.yaml": b"rule: latin\nabout: caf\xe9\ntrigger: {event: t}\n",
    "rules/utf16.yaml": VALID_RULE.encode("utf-16"),
    "rules/large.yaml": VALID_RULE.encode() + b"# more\n" * 150_000,
    "rules/deep.yaml": b"rule: deep\nabout: " + b"[" * 50 + b"]" * 50 + b"\n",
    "rules/bombs.yaml": b"a: &a [" + b"x," * 999 + b"x]\nb: &b [" + b"*a," * 999 + b"*a]\n",
    "rules/keys.yaml": VALID_RULE.encode()
    + b"".join(b"key%d: 1\n" % number for number in range(210)),
    "rules/long.yaml": (
        b"rule: long\ntrigger: {event: t, where: '" + b"x + " * 5_000 + b"x > 1'}\n"
    ),
    "rules/names.yaml": (
        b"rule: names\ntrigger: {event: t}\nalert:\n  warning: always\n  labels:\n"
        + b"".join(b"    a%d: b\n" % number for number in range(1_001))
    ),
}


@pytest.fixture(autouse=True)
def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "CATCHER_SITE", "CATCHER_DATA", "TOPIC", "OPEN"):
        monkeypatch.delenv(name, raising=False)


def write_sites(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Writes the sites of a bundle: `##### TITLE` begins a site, `#### PATH` a file of it."""
    text = (GOLDEN_FOLDER / "broken" / f"{name}.txt").read_text(encoding="utf-8")
    for number, site_text in enumerate(re.split(r"^##### ", text, flags=re.MULTILINE)[1:]):
        title, _, files = site_text.partition("\n")
        site = folder / f"site{number}"
        for file in re.split(r"^#### ", files, flags=re.MULTILINE)[1:]:
            path, _, content = file.partition("\n")
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(content, encoding="utf-8")
        yield title, site


def check_sites(sites: Iterator[tuple[str, Path]], data: Path) -> tuple[str, str]:
    """What `check` and `check --json` say of sites, with their exit statuses."""
    text_output, json_output = "", ""
    for title, site in sites:
        text_result = run_command("check", "--site", site, "--data", data)
        json_result = run_command("check", "--json", "--site", site, "--data", data)
        assert text_result.status == json_result.status
        text_output += (
            f"##### {title}: status {text_result.status:d}\n{text_result.out}{text_result.err}"
        )
        json_output += (
            f"##### {title}: status {json_result.status:d}\n{json_result.out}{json_result.err}"
        )
        text_output, json_output = (
            text_output.replace(str(site), "SITE"),
            json_output.replace(str(site), "SITE"),
        )
    return text_output, json_output


@pytest.mark.parametrize("collection", SITE_COLLECTIONS)
def test_check_says_what_is_wrong_in_the_same_words(collection: str, tmp_path: Path) -> None:
    text_output, json_output = check_sites(write_sites(collection, tmp_path), tmp_path / "data")
    compare_text(f"broken/{collection}.check.txt", text_output)
    compare_text(f"broken/{collection}.check.json.txt", json_output)


def test_check_says_of_odd_files_what_is_wrong_in_the_same_words(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", VALID_RULE)
    for name, data in ODD_FILES.items():
        (site / name).write_bytes(data)
    (site / "rules" / "folder.yaml").mkdir()
    text_output, json_output = check_sites(iter([("odd files", site)]), tmp_path / "data")
    compare_text("broken/files.check.txt", text_output)
    compare_text("broken/files.check.json.txt", json_output)


def test_the_goldens_cover_many_broken_rules() -> None:
    text = (GOLDEN_FOLDER / "broken" / "rules.check.json.txt").read_text(encoding="utf-8")
    problems = json.loads(text.partition("\n")[2])
    assert len({problem["rule"] for problem in problems if problem["severity"] == "error"}) > 150
    assert list(problems[0]) == ["file", "line", "column", "message", "hint", "severity", "rule"]


FIELD_RULES = """
rule: fields
trigger: {telemetry: wind, where: saLIndex == 1, by: mast}
reads: {other: {topic: mount, where: azimut > 1}}
let: {turned: other.elevaton > 10}
alert: {warning: spedd > 10, serious: other.colour > 1, critical: turned}
---
rule: inputs
trigger: {sequence: [{event: wind, where: sped > 1}, {event: mount}], within: 1m}
job: {run: doubling, inputs: {a: {topic: mount, last: 1m, fields: [azimuth, elevatoin]}}}
"""


def test_check_reports_fields_that_a_stream_lacks_in_the_same_words(tmp_path: Path) -> None:
    jobs = "from catcher import Result, Series, job\n\n\n@job\ndef doubling(a: Series) -> Result:\n"
    jobs += "    return Result({})\n"
    site = load_site_folder(write_site(tmp_path / "site", FIELD_RULES, jobs=jobs))
    assert not site.errors
    fields_by_topic = {
        "wind": [FieldInfo("speed", "double", "m/s", ""), FieldInfo("salIndex", "int", "", "")],
        "mount": [
            FieldInfo("azimuth0", "double", "", ""),
            FieldInfo("elevation", "double", "", ""),
        ],
    }
    problems = check_fields(site.rules.values(), fields_by_topic)
    compare_text("broken/fields.txt", "".join(f"{problem}\n" for problem in problems))


RULE_TESTS = """
rule: tried
trigger: {telemetry: wind}
alert:
  warning: {when: speed > 10, for: 2m}
  serious: speed > 20
tests:
  - {name: as expected, feed: {wind: "{speed: 12} x 240"}, expect: {alerts: [{at: 2m, severity: warning}], firings: 0, runs: 0}}
  - {name: too early, feed: {wind: "{speed: 12} x 240"}, expect: {alerts: [{at: 1m, within: 10s, severity: serious, state: firing, key: x}]}}
  - {name: counts, feed: {wind: "{speed: 25} x 3"}, expect: {alerts: 2, firings: 5}}
  - {name: nothing came, feed: {wind: "{speed: 5} x 3"}, expect: {alerts: [{at: 1m, severity: warning}]}}
  - {name: too much came, feed: {wind: "{speed: 25} x 3, {speed: 5} x 3"}, expect: {alerts: []}}
  - {name: no shape, feed: {wind: "speed 5"}, expect: {alerts: []}}
  - {name: no mapping, feed: {wind: "[5]"}, expect: {alerts: []}}
  - {name: no YAML, feed: {wind: "{speed: {5} x 3"}, expect: {alerts: []}}
  - {name: half YAML, feed: {wind: '{speed: "a" b} x 3'}, expect: {alerts: []}}
  - {name: no step, feed: {wind: "{speed: 5} x 3 @ soon"}, expect: {alerts: []}}
  - {name: no time, feed: {wind: [{speed: 5}]}, expect: {alerts: []}}
  - {name: too many, feed: {wind: "{speed: 5} x 9999999"}, expect: {alerts: []}}
  - {name: too late, feed: {wind: "nothing x 9 @ 36000d, {speed: 5}"}, expect: {alerts: []}}
---
rule: worked
trigger: {event: number}
job: {run: doubling}
tests:
  - {name: metrics, feed: {number: "{value: 4}"}, expect: {runs: [{at: 1s, state: failed, metrics: {doubled: [1, 2], other: 3}}]}}
"""  # noqa: E501


def test_the_tests_of_rules_fail_in_the_same_words(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", RULE_TESTS)
    for name, options in (("cases.txt", ("worked",)), ("cases.json.txt", ("--json",))):
        result = run_command("test", *options, "--site", site)
        assert (result.status, result.err) == (1, "")
        compare_text(f"broken/{name}", replace_texts(result.out, {str(site): "SITE"}))
