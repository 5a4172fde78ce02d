"""Secrets find their place in the settings and no way out of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from catcher.site import Redactor, Secret, Site
from tests.site.site_files import list_problem_texts, load_site

TOKEN = "xoxb-very-secret"


def load_site_with(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Site:
    return load_site(tmp_path, {"catcher.yaml": text}, environ)


def test_a_variable_of_the_environment(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, "api: {token: '${TOKEN}'}\n", {"TOKEN": TOKEN})
    assert list_problem_texts(site) == []
    assert site.settings.api.token == Secret(TOKEN)
    assert site.settings.api.token is not None
    assert site.settings.api.token.reveal() == TOKEN


def test_a_file_holds_a_secret_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    site = load_site_with(tmp_path, f"api:\n  token: ${{file:{tmp_path}/token}}\n")
    assert site.settings.api.token == Secret(TOKEN)


def test_a_file_may_be_named_from_the_sites_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    site = load_site_with(tmp_path, "api:\n  token: ${file:token}\n")
    assert site.settings.api.token == Secret(TOKEN)


def test_a_number_may_come_from_the_environment(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, "api:\n  port: ${PORT}\n", {"PORT": "9000"})
    assert list_problem_texts(site) == []
    assert site.settings.api.port == 9000


def test_a_text_may_hold_several(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, "site: ${A}-${B}$${C}\n", {"A": "one", "B": "two"})
    assert site.settings.site == "one-two${C}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE}", "the environment variable NOPE is not set; "
                    "set it, for instance: export NOPE=..."),
        ("${EMPTY}", "the environment variable EMPTY is empty; "
                     "set it, for instance: export EMPTY=..."),
        ("${not a name}", "'not a name' is no name of an environment variable; "
                          "write ${NAME} or ${file:/path}, or $${ for a plain ${"),
        ("${NOPE", "the ${ is not closed; write ${NAME}, or $${ for a plain ${"),
        ("${file:nowhere}", "there is no file 'nowhere'; "
                            "name a readable file that holds nothing but the secret"),
        ("${file:/dev/zero}", "there is no file '/dev/zero'; "
                              "name a readable file that holds nothing but the secret"),
        ("${file:blank}", "the file 'blank' is empty; "
                          "name a readable file that holds nothing but the secret"),
        ("${file:large}", "the file 'large' is larger than 64 kB; "
                          "name a readable file that holds nothing but the secret"),
        ("${file:binary}", "'binary' cannot be read: it is not UTF-8 text; "
                           "name a readable file that holds nothing but the secret"),
    ],
)  # fmt: skip
def test_unresolvable_secret_is_reported_once(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "blank").write_text("\n")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    site = load_site_with(tmp_path, f"site: {text}\n", {"EMPTY": ""})
    assert list_problem_texts(site) == [f"catcher.yaml:1:7: {message}"]


def test_a_pipe_does_not_make_it_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    site = load_site_with(tmp_path, "site: ${file:pipe}\n")
    assert len(site.errors) == 1


def test_a_source_or_sink_without_its_secret_is_left_out(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {
            "catcher.yaml": "sources:\n  efd: {mqtt: {password: '${NOPE}'}}\n  out: {http: {}}\n",
            "alerts/routes.yaml": "sinks:\n  console: {}\n  tma: {slack: {token: '${NOPE}'}}\n"
            "route: {to: [tma, console]}\n",
        },
    )
    assert [problem.location.file for problem in site.problems] == [
        "alerts/routes.yaml",
        "catcher.yaml",
    ]
    assert list(site.settings.sources) == ["out"]
    assert list(site.routes.sinks) == ["console"]
    assert site.routes.route.to == ("console",)


def test_no_representation_shows_a_secret(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {
            "catcher.yaml": "api: {token: '${TOKEN}'}\n"
            "sources: {efd: {mqtt: {host: h, password: '${TOKEN}'}}}\n",
            "alerts/routes.yaml": "sinks: {tma: {slack: {token: '${TOKEN}'}}}\n"
            "route: {to: [tma]}\n",
        },
        {"TOKEN": TOKEN},
    )
    assert list_problem_texts(site) == []
    assert TOKEN not in repr(site)
    assert TOKEN not in str(site)
    assert site.settings.sources["efd"].adapter.to_dict() == {
        "host": "h",
        "password": Secret(TOKEN),
    }
    assert TOKEN not in repr(site.settings.sources["efd"].adapter.to_dict())
    assert site.routes.sinks["tma"].settings == {"token": TOKEN}


def test_no_problem_shows_a_secret(tmp_path: Path) -> None:
    site = load_site_with(
        tmp_path,
        "api: {port: '${TOKEN}', host: '${TOKEN}'}\nlinks: {a: '${TOKEN}'}\n"
        "stores: {ledger: '${TOKEN}', objects: '${TOKEN}'}\nlimits: {memory: '${TOKEN}'}\n"
        "sources: {a: {mqtt: {}, clock: '${TOKEN}', lateness: '${TOKEN}'}}\ndata: '${TOKEN}'\n",
        {"TOKEN": TOKEN},
    )
    assert len(site.errors) >= 7
    assert TOKEN not in "\n".join(list_problem_texts(site))


@dataclass(frozen=True)
class LeakyAdapterSettings:
    """An adapter's class that quotes what it was given."""

    password: str

    def __post_init__(self) -> None:
        raise ValueError(f"{self.password} is too weak")


def test_no_adapter_can_show_a_secret(tmp_path: Path) -> None:
    site = load_site(
        tmp_path,
        {"catcher.yaml": "sources: {a: {mqtt: {password: '${TOKEN}'}}}\n"},
        {"TOKEN": TOKEN},
        {("source", "mqtt"): LeakyAdapterSettings},
    )
    assert list_problem_texts(site) == [
        "catcher.yaml:1:21: mqtt: *** is too weak; mend this section"
    ]


def test_the_redactor_knows_the_forms_that_a_secret_takes(tmp_path: Path) -> None:
    secret = 'p@ss "word"/\\'
    site = load_site_with(tmp_path, "api: {token: '${TOKEN}'}\n", {"TOKEN": secret})
    for text in (
        f"ws://host?password={secret}",
        "ws://host?password=p%40ss%20%22word%22%2F%5C",
        r'{"token": "p@ss \"word\"/\\"}',
        f"failed with {secret!r}",
    ):
        redacted = site.redact(text)
        assert "word" not in redacted.replace("password", "")
        assert "***" in redacted


def test_short_value_does_not_redact_ordinary_words(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, "site: ${SITE}\n", {"SITE": "a"})
    assert site.redact("a wind alert") == "a wind alert"
    assert Redactor()("text") == "text"


def test_secret_written_into_the_file_is_warned_of_and_redacted(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, f"api: {{token: {TOKEN}}}\n")
    assert list_problem_texts(site) == [
        "catcher.yaml:1:14: the `token` is written into the file; "
        "take it from the environment: ${TOKEN}"
    ]
    assert site.errors == []
    assert site.redact(TOKEN) == "***"
