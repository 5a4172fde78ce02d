"""Which site is meant when nobody says, and when somebody does."""

from __future__ import annotations

from pathlib import Path

import pytest

import catcher
from catcher.model.errors import CatcherError
from catcher.site import find_shipped_site, find_site


def create_site(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catcher.yaml").touch()
    return folder


def test_named_site_comes_first(tmp_path: Path) -> None:
    named_site, other_site = create_site(tmp_path / "named"), create_site(tmp_path / "other")
    result = find_site(named_site, {"CATCHER_SITE": str(other_site)}, other_site)
    assert result == named_site


def test_its_configuration_file_names_a_site_too(tmp_path: Path) -> None:
    assert find_site(create_site(tmp_path) / "catcher.yaml", {}, tmp_path) == tmp_path


def test_the_environment_comes_before_the_working_directory(tmp_path: Path) -> None:
    named_site, working_directory = create_site(tmp_path / "named"), create_site(tmp_path / "here")
    assert find_site(None, {"CATCHER_SITE": str(named_site)}, working_directory) == named_site


def test_a_folder_below_a_site_belongs_to_it(tmp_path: Path) -> None:
    create_site(tmp_path)
    subfolder = tmp_path / "rules" / "wind"
    subfolder.mkdir(parents=True)
    assert find_site(None, {}, subfolder) == tmp_path


def test_outside_of_any_site_the_shipped_site_is_used(tmp_path: Path) -> None:
    result = find_site(None, {}, tmp_path)
    assert result == find_shipped_site()
    package = Path(catcher.__file__).resolve().parent
    assert result in (package.parent, package / "_site")


@pytest.mark.parametrize(
    ("path", "environ", "message"),
    [
        ("nowhere", {}, "the site that --site names does not exist: {}/nowhere; check the path"),
        ("empty", {}, "{}/empty, which --site names, holds no catcher.yaml; "
                      "name the folder of a site; an empty catcher.yaml makes it one"),
        (None, {"CATCHER_SITE": "{}/nowhere"},
         "the site that $CATCHER_SITE names does not exist: {}/nowhere; check the path"),
    ],
)  # fmt: skip
def test_wrong_name_is_reported(
    tmp_path: Path, path: str | None, environ: dict[str, str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    site = tmp_path / path if path else None
    environment = {name: value.format(tmp_path) for name, value in environ.items()}
    with pytest.raises(CatcherError) as error:
        find_site(site, environment, tmp_path)
    assert str(error.value) == message.format(tmp_path)
