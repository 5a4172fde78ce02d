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

from catcher.evaluation import RuleEvaluator, rule_fingerprint
from catcher.model.commit import TriggerState
from tests.upgrade.golden_states import (
    DIGESTS_FILE,
    END_SECOND,
    SAVE_SECOND,
    STATES_FILE,
    build_golden,
    load_rules,
    process_seconds,
    state_to_row,
)


def restore_evaluator(rows: list[list[Any]], digests: dict[str, str]) -> RuleEvaluator:
    """Returns a network that took back golden states under golden digests."""
    evaluator = RuleEvaluator(list(load_rules().values()))
    states = [
        TriggerState(rule, key, digests[rule], json.loads(text), part)
        for rule, key, part, text in rows
    ]
    assert evaluator.restore_states(states) == []
    return evaluator


@pytest.fixture(scope="module")
def golden() -> dict[str, list[Any]]:
    """Returns what c51c802 decided and saved."""
    rows: dict[str, list[Any]] = json.loads(STATES_FILE.read_text())
    return rows


@pytest.fixture(scope="module")
def current() -> dict[str, list[Any]]:
    """Returns what today's code decides and saves of the same events."""
    return build_golden()


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    """Returns the digests that c51c802 gave to the rules."""
    rows: dict[str, str] = json.loads(DIGESTS_FILE.read_text())
    return rows


def test_the_digests_of_sixty_rules_are_those_of_c51c802(digests: dict[str, str]) -> None:
    assert len(digests) == 60
    assert {name: rule_fingerprint(rule) for name, rule in load_rules().items()} == digests


@pytest.mark.parametrize("part", ["decided before", "decided after"])
def test_the_rules_decide_and_name_their_decisions_as_at_c51c802(
    golden: dict[str, list[Any]], current: dict[str, list[Any]], part: str
) -> None:
    assert current[part] == golden[part]


@pytest.mark.parametrize("part", ["saved", "saved at the end"])
def test_saved_states_are_those_of_c51c802_to_the_byte(
    golden: dict[str, list[Any]], current: dict[str, list[Any]], part: str
) -> None:
    expected = {tuple(row[:3]): row[3] for row in golden[part]}
    actual = {tuple(row[:3]): row[3] for row in current[part]}
    assert actual.keys() == expected.keys()
    different = [name for name in expected if actual[name] != expected[name]]
    assert not different, (
        f"{different[0]}\nthen {expected[different[0]]}\nnow  {actual[different[0]]}"
    )


def test_states_of_c51c802_are_restored_and_the_rules_continue_from_them(
    golden: dict[str, list[Any]], digests: dict[str, str]
) -> None:
    evaluator = restore_evaluator(golden["saved"], digests)
    assert process_seconds(evaluator, SAVE_SECOND, END_SECOND) == golden["decided after"]
    expected = {tuple(row[:3]): row[3] for row in golden["saved at the end"] if not row[2]}
    actual = {
        tuple(row[:3]): row[3]
        for row in map(state_to_row, evaluator.snapshot_changed_states())
        if not row[2]
    }
    assert {name: actual[name] for name in expected} == expected


def test_every_rule_that_runs_has_a_golden_state(golden: dict[str, list[Any]]) -> None:
    saved_rules = {row[0] for row in golden["saved"]}
    assert saved_rules == load_rules().keys() - {"disabled"}
    assert {row[2] for row in golden["saved"]} > {""}
