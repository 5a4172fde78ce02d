"""Which site is meant when nobody says, and when somebody does."""

from __future__ import annotations

from pathlib import Path

import pytest

import catcher
from catcher.model.problem import CatcherError
from catcher.site import find_site, shipped_site


def site_in(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catcher.yaml").touch()
    return folder


def test_the_named_one_comes_before_all_others(tmp_path: Path) -> None:
    named, other = site_in(tmp_path / "named"), site_in(tmp_path / "other")
    found = find_site(named, {"CATCHER_SITE": str(other)}, other)
    assert found == named


def test_its_configuration_file_names_a_site_too(tmp_path: Path) -> None:
    assert find_site(site_in(tmp_path) / "catcher.yaml", {}, tmp_path) == tmp_path


def test_the_environment_comes_before_the_working_directory(tmp_path: Path) -> None:
    named, here = site_in(tmp_path / "named"), site_in(tmp_path / "here")
    assert find_site(None, {"CATCHER_SITE": str(named)}, here) == named


def test_a_folder_below_a_site_belongs_to_it(tmp_path: Path) -> None:
    site_in(tmp_path)
    below = tmp_path / "rules" / "wind"
    below.mkdir(parents=True)
    assert find_site(None, {}, below) == tmp_path


def test_outside_of_any_site_it_is_the_shipped_one(tmp_path: Path) -> None:
    found = find_site(None, {}, tmp_path)
    assert found == shipped_site()
    package = Path(catcher.__file__).resolve().parent
    assert found in (package.parent, package / "_site")


@pytest.mark.parametrize(
    ("path", "environ", "told"),
    [
        ("nowhere", {}, "the site that --site names does not exist: {}/nowhere; check the path"),
        ("empty", {}, "{}/empty, which --site names, holds no catcher.yaml; "
                      "name the folder of a site; an empty catcher.yaml makes it one"),
        (None, {"CATCHER_SITE": "{}/nowhere"},
         "the site that $CATCHER_SITE names does not exist: {}/nowhere; check the path"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_told(
    tmp_path: Path, path: str | None, environ: dict[str, str], told: str
) -> None:
    (tmp_path / "empty").mkdir()
    named = tmp_path / path if path else None
    filled = {name: value.format(tmp_path) for name, value in environ.items()}
    with pytest.raises(CatcherError) as caught:
        find_site(named, filled, tmp_path)
    assert str(caught.value) == told.format(tmp_path)
