"""The production engine on a virtual clock, for the tests of rules and for backtests."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from catcher.app.composition import RECORDED_CLOCK, create_engine_builder, unwrap_exception_groups
from catcher.app.executors import Executors, create_local_executor
from catcher.app.stores import open_memory_stores
from catcher.authoring import (
    RuleTestResult,
    VirtualClock,
    VirtualEngine,
    run_tests,
    validate_rule_names,
)
from catcher.authoring import backtest_rules as play_past
from catcher.authoring.tuning import SweepResult, build_variants
from catcher.authoring.virtual_engine import SOURCE_NAME
from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Instant, wall_clock
from catcher.ports import EventBatch
from catcher.recordings.reader import iter_recorded_events
from catcher.site import Site

Row = dict[str, Any]


class VirtualSource:
    """The source of a virtual engine's events, so that its event time is the engine's time.
    The virtual engine feeds events one by one; nobody opens this source.
    """

    name = SOURCE_NAME

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        """Yields no batches."""
        yield _iter_no_batches()

    def health(self) -> Health:
        """Always ok."""
        return Health(self.name, "tape", "ok")


async def _iter_no_batches() -> AsyncIterator[EventBatch]:
    return
    yield EventBatch(SOURCE_NAME, ())


@asynccontextmanager
async def open_virtual_engine(
    site: Site, rules: Mapping[str, Rule], on_omitted: Callable[[str], None] = lambda words: None
) -> AsyncIterator[VirtualEngine]:
    """Opens an engine on a virtual clock with a ledger of its own; it notifies nobody.
    Rules that are disabled run here, too: somebody has asked for them.
    """
    rules = {name: replace(rule, enabled=True) for name, rule in rules.items()}
    clock, pending_runs = VirtualClock(), deque[Run]()
    async with AsyncExitStack() as exit_stack:
        exit_stack.enter_context(unwrap_exception_groups())
        stores = await open_memory_stores(exit_stack, "rehearsal", clock)
        builder = await create_engine_builder(
            site, rules, stores, clock, {SOURCE_NAME: RECORDED_CLOCK}
        )
        executor = create_local_executor(site, wall_clock)
        if any(rule.job for rule in rules.values()):
            await exit_stack.enter_async_context(executor)
        scheduler = builder.build_scheduler(
            Executors(executor, executor), "rehearsal", Path.cwd(), _ignore_run, _skip_sleep
        )
        await exit_stack.enter_async_context(scheduler)
        engine = builder.build_engine(
            "rehearsal",
            [VirtualSource()],
            pending_runs.append,
            lambda notifications: None,
            scheduler.drain_and_cancel,
        )
        yield VirtualEngine(engine, clock, pending_runs, scheduler.execute_immediately, on_omitted)


async def _ignore_run(run: Run) -> None:
    return None


async def _skip_sleep(seconds: float) -> None:
    return None


async def run_rule_tests(site: Site, names: Sequence[str]) -> list[RuleTestResult]:
    """Runs the tests beside the rules of a site; all of them if no rule is named."""
    selected = validate_rule_names(names, site.rules, _list_broken_rule_ids(site)) or list(
        site.rules
    )
    return await run_tests(
        [site.rules[name] for name in selected], lambda rules: open_virtual_engine(site, rules)
    )


async def run_backtest(
    site: Site,
    names: Sequence[str],
    files: Sequence[Path],
    on_row: Callable[[Row], None],
    on_progress: Callable[[str], None],
    on_rejected: Callable[[str], None],
) -> None:
    """Replays recorded streams through a site's rules.
    `on_rejected` receives lines that are no event, and events that lie too far in the future.
    Without names all enabled rules run; a named one may be disabled.
    """
    selected = validate_rule_names(names, site.rules, _list_broken_rule_ids(site))
    rules = site.rules if selected else {rule.id: rule for rule in site.active_rules}
    await play_past(
        rules, selected, _iter_recorded_events(files, on_rejected),
        lambda rules: open_virtual_engine(site, rules, on_rejected), on_row, on_progress,
    )  # fmt: skip


async def sweep_rule_limits(
    site: Site,
    name: str,
    files: Sequence[Path],
    factors: Sequence[float],
    on_progress: Callable[[str], None],
    on_rejected: Callable[[str], None],
) -> SweepResult:
    """Replays recorded streams through variants of one rule, all in one pass."""
    (selected,) = validate_rule_names([name], site.rules, _list_broken_rule_ids(site))
    variants = build_variants(site.rules[selected], factors)
    by_rule = {variant.rule.id: variant for variant in variants}
    rules = {**site.rules, **{variant.rule.id: variant.rule for variant in variants}}
    time_range: list[Instant] = []

    def track_time_range() -> Iterable[Event]:
        for event in _iter_recorded_events(files, on_rejected):
            time_range[:] = (
                [min(time_range[0], event.time), max(time_range[1], event.time)]
                if time_range
                else [event.time, event.time]
            )
            yield event

    await play_past(
        rules,
        list(by_rule),
        track_time_range(),
        lambda rules: open_virtual_engine(site, rules, on_rejected),
        lambda row: by_rule[row["rule"]].count_row(row),
        on_progress,
    )
    if not time_range:
        raise CatcherError("the recording holds no event", "see `catcher backtest` for its lines")
    first, last = time_range
    for variant in variants:
        variant.close_open_alerts(last)
    return SweepResult(variants, first, last)


def _list_broken_rule_ids(site: Site) -> list[str]:
    return [broken.id for broken in site.broken_rules if broken.id]


def _iter_recorded_events(
    files: Sequence[Path], on_rejected: Callable[[str], None]
) -> Iterable[Event]:
    for item in iter_recorded_events(files):
        if isinstance(item, Event):
            yield item
        else:
            on_rejected(str(item))
