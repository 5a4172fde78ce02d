"""`catcher.yaml` and the routes, spoilt: problems with place and hint, defaults in their stead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.app.adapters import SETTINGS
from tests.fuzz.checking import checked
from tests.fuzz.mutating import BOMBS, soups, spoilt
from tests.oracle.effort import effort
from tests.site.writing import write_site

HERE = Path(__file__).parents[1] / "site"
SHIPPED = Path(__file__).parents[2]


def uncommented(text: str) -> str:
    """The shipped file with the settings that it only shows."""
    return text.replace("\n# ", "\n").replace("\n  # ", "\n  ")


SETTINGS_TEXTS = [
    (HERE / "design_catcher.yaml").read_text(encoding="utf-8"),
    (SHIPPED / "catcher.yaml").read_text(encoding="utf-8"),
    uncommented((SHIPPED / "catcher.yaml").read_text(encoding="utf-8")),
]
ROUTES_TEXTS = [
    (HERE / "design_routes.yaml").read_text(encoding="utf-8"),
    uncommented((SHIPPED / "alerts" / "routes.yaml").read_text(encoding="utf-8")),
]
WORDS = (
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
FILES = {"catcher.yaml": SETTINGS_TEXTS, "alerts/routes.yaml": ROUTES_TEXTS}


@pytest.fixture(params=FILES, scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A site, and the name of its file that is spoilt."""
    with TemporaryDirectory() as folder:
        root = write_site(Path(folder), {"rules/r.yaml": "rule: a\ntrigger: {event: T}\n"})
        (root / "alerts").mkdir(exist_ok=True)
        assert all(map(SETTINGS.get, SETTINGS))  # importing them is not what is counted
        yield root, request.param


@effort(100)
@given(data=st.data())
def test_a_good_file_spoilt(site: tuple[Path, str], data: st.DataObject) -> None:
    root, name = site
    text = data.draw(spoilt(FILES[name], [*BOMBS, *WORDS]))

    found = checked(root, name, text, SETTINGS)

    assert "a" in found.rules


@effort(60)
@given(text=soups(WORDS))
def test_a_soup_of_settings(site: tuple[Path, str], text: str) -> None:
    root, name = site

    checked(root, name, text, SETTINGS)
