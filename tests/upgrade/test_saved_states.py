"""The digests of sixty rules and the states that they save are what c51c802 made, to the byte.

A saved state is taken back only where its rule still has the digest that the state was saved
under, and only under the keys that it was saved with. A rule whose digest changes forgets its
windows, holds and `once_per` values at the upgrade, and its alerts are resolved. The ids of
firings and alerts are golden too: the ledger tells a repeat by them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from catcher.model.commit import TriggerState
from catcher.watching import Network, meaning
from tests.upgrade.sixty import (
    DIGESTS,
    SAVED,
    SECONDS,
    STATES,
    feed_seconds,
    load_rules,
    row_of,
    take_golden,
)


def restore_rows(rows: list[list[Any]], digests: dict[str, str]) -> Network:
    """Returns a network that took back golden states under golden digests."""
    network = Network(list(load_rules().values()))
    states = [
        TriggerState(rule, key, digests[rule], json.loads(text), part)
        for rule, key, part, text in rows
    ]
    assert network.restore(states) == []
    return network


@pytest.fixture(scope="module")
def golden() -> dict[str, list[Any]]:
    """Returns what c51c802 decided and saved."""
    rows: dict[str, list[Any]] = json.loads(STATES.read_text())
    return rows


@pytest.fixture(scope="module")
def taken() -> dict[str, list[Any]]:
    """Returns what today's code decides and saves of the same events."""
    return take_golden()


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    """Returns the digests that c51c802 gave to the rules."""
    rows: dict[str, str] = json.loads(DIGESTS.read_text())
    return rows


def test_the_digests_of_sixty_rules_are_those_of_c51c802(digests: dict[str, str]) -> None:
    assert len(digests) == 60
    assert {name: meaning(rule) for name, rule in load_rules().items()} == digests


@pytest.mark.parametrize("part", ["decided before", "decided after"])
def test_the_rules_decide_and_name_their_decisions_as_at_c51c802(
    golden: dict[str, list[Any]], taken: dict[str, list[Any]], part: str
) -> None:
    assert taken[part] == golden[part]


@pytest.mark.parametrize("part", ["saved", "saved at the end"])
def test_saved_states_are_those_of_c51c802_to_the_byte(
    golden: dict[str, list[Any]], taken: dict[str, list[Any]], part: str
) -> None:
    wanted = {tuple(row[:3]): row[3] for row in golden[part]}
    found = {tuple(row[:3]): row[3] for row in taken[part]}
    assert found.keys() == wanted.keys()
    other = [name for name in wanted if found[name] != wanted[name]]
    assert not other, f"{other[0]}\nthen {wanted[other[0]]}\nnow  {found[other[0]]}"


def test_states_of_c51c802_are_taken_back_and_the_rules_go_on_from_them(
    golden: dict[str, list[Any]], digests: dict[str, str]
) -> None:
    network = restore_rows(golden["saved"], digests)
    assert feed_seconds(network, SAVED, SECONDS) == golden["decided after"]
    ended = {tuple(row[:3]): row[3] for row in golden["saved at the end"] if not row[2]}
    found = {tuple(row[:3]): row[3] for row in map(row_of, network.take_states()) if not row[2]}
    assert {name: found[name] for name in ended} == ended


def test_every_rule_that_runs_has_a_golden_state(golden: dict[str, list[Any]]) -> None:
    saved = {row[0] for row in golden["saved"]}
    assert saved == load_rules().keys() - {"disabled"}
    assert {row[2] for row in golden["saved"]} > {""}
