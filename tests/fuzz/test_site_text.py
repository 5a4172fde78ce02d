"""`catcher.yaml` and the routes, spoilt: problems with place and hint, defaults in their stead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.app.adapter_registry import SETTINGS_CLASSES
from tests.fuzz.mutations import HOSTILE_TEXTS, fragment_mixes, mutated_texts
from tests.fuzz.site_checks import load_checked_site
from tests.oracle.hypothesis_settings import property_settings
from tests.site.site_files import write_site

SITE_TESTS = Path(__file__).parents[1] / "site"
REPOSITORY = Path(__file__).parents[2]


def uncomment_settings(text: str) -> str:
    """The shipped file with the settings that it only shows."""
    return text.replace("\n# ", "\n").replace("\n  # ", "\n  ")


SETTINGS_TEXTS = [
    (SITE_TESTS / "design_catcher.yaml").read_text(encoding="utf-8"),
    (REPOSITORY / "catcher.yaml").read_text(encoding="utf-8"),
    uncomment_settings((REPOSITORY / "catcher.yaml").read_text(encoding="utf-8")),
]
ROUTES_TEXTS = [
    (SITE_TESTS / "design_routes.yaml").read_text(encoding="utf-8"),
    uncomment_settings((REPOSITORY / "alerts" / "routes.yaml").read_text(encoding="utf-8")),
]
FRAGMENTS = (
    "site: a\n", "sources:\n", "  efd: {mqtt: {host: h}}\n", "  r: {replay: {files: [a]}}\n",
    "api: {port: 1}\n", "stores:\n", "  ledger: sqlite\n", "limits:\n", "observations:\n",
    "  exposure: {event: T, id: i}\n", "links: {a: \"https://{id}\"}\n", "data: ./x\n",
    "sinks:\n",
    "  console: {}\n", "  slack: {slack: {channel: c, token: t}}\n", "route:\n",
    "  to: [console]\n",
    "  routes:\n", "    - match: {rule: a}\n", "      to: [console]\n", "  group_by: [rule]\n",
    "      mute: [\"16:00-21:00 UTC\"]\n", "      escalate: {after: 5m, to: [console]}\n", "\n",
    "${HOME}", "${file:/etc/passwd}", "${file:/dev/zero}", "${file:.}", "${X", "$", "{id}", "{",
)  # fmt: skip
TEXTS_BY_FILE = {"catcher.yaml": SETTINGS_TEXTS, "alerts/routes.yaml": ROUTES_TEXTS}


@pytest.fixture(params=TEXTS_BY_FILE, scope="module")
def site_file(request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A site, and the name of its file that is spoilt."""
    with TemporaryDirectory() as folder:
        site_root = write_site(Path(folder), {"rules/r.yaml": "rule: a\ntrigger: {event: T}\n"})
        (site_root / "alerts").mkdir(exist_ok=True)
        assert all(
            map(SETTINGS_CLASSES.get, SETTINGS_CLASSES)
        )  # importing them is not what is counted
        yield site_root, request.param


@property_settings(100)
@given(data=st.data())
def test_a_mutated_valid_file(site_file: tuple[Path, str], data: st.DataObject) -> None:
    site_root, name = site_file
    text = data.draw(mutated_texts(TEXTS_BY_FILE[name], [*HOSTILE_TEXTS, *FRAGMENTS]))

    loaded_site = load_checked_site(site_root, name, text, SETTINGS_CLASSES)

    assert "a" in loaded_site.rules


@property_settings(60)
@given(text=fragment_mixes(FRAGMENTS))
def test_a_mix_of_settings_fragments(site_file: tuple[Path, str], text: str) -> None:
    site_root, name = site_file

    load_checked_site(site_root, name, text, SETTINGS_CLASSES)
