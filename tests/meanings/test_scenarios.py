"""Every sentence of the rule language, held by scenarios on the production engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site
from catcher.app.virtual_engine import open_virtual_engine
from catcher.model.event import Event
from tests.meanings.scenarios import Scenario, load_scenarios
from tests.sample_site import write_site

JOBS = '''
from catcher import Event, Field, Metric, Result, job


@job
async def twice(event: Event) -> Result:
    """Twice `x`; 13 brings no luck."""
    x = event.fields.get("x")
    if x == 13:
        raise ValueError("thirteen brings no luck")
    return Result({"doubled": Metric(None if x is None else 2.0 * x)})


@job
async def spread(event: Event) -> Result:
    """A number for each detector."""
    values = event.fields["values"]
    names = [f"R22_S{number}" for number in range(len(values))]
    return Result(fields={"seeing": Field("detector", names, values)})
'''


async def run_scenario(
    folder: Path, scenario: Scenario, events: list[Event] | None = None
) -> list[dict[str, Any]]:
    """The rows that a backtest tells of a scenario, or of other events."""
    site = load_site(write_site(folder, scenario.rules_text, jobs=JOBS))
    assert not site.problems, [str(problem) for problem in site.problems]
    rows: list[dict[str, Any]] = []
    async with open_virtual_engine(site, site.rules) as virtual_engine:
        virtual_engine.subscribe_rows(rows.append, list(site.rules))
        await virtual_engine.play_events(scenario.build_events() if events is None else events)
    return rows


@pytest.mark.parametrize("scenario", load_scenarios(), ids=str)
async def test_the_rules_decide_as_the_text_says(tmp_path: Path, scenario: Scenario) -> None:
    rows = await run_scenario(tmp_path, scenario)
    assert scenario.format_rows(rows, "fires") == scenario.get_expected("fires"), scenario.entry[
        "holds"
    ]
    assert scenario.format_rows(rows, "alerts") == scenario.get_expected("alerts"), scenario.entry[
        "holds"
    ]
