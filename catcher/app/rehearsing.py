"""The production engine on a fast clock, for the tests of rules and for backtests."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from catcher.app.assembling import RECORDED, alone, assemble
from catcher.app.executing import Executors, local_executor
from catcher.app.kept import open_in_memory
from catcher.authoring import Case, Rehearsal, VirtualClock, choose, run_cases
from catcher.authoring import backtest as play_past
from catcher.authoring.rehearsal import SOURCE
from catcher.authoring.tuning import Tuned, variants_of
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Instant, wall_clock
from catcher.ports import Delivery
from catcher.site import Site
from catcher.sources.recorded import read_recorded

Row = dict[str, Any]


class Tape:
    """The source that the events of a rehearsal come from, so that its time is the engine's.

    The rehearsal itself turns it, event by event; nobody opens it.
    """

    name = SOURCE

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        """Nothing of its own."""
        yield _nothing()

    def health(self) -> Health:
        """Always ok."""
        return Health(self.name, "tape", "ok")


async def _nothing() -> AsyncIterator[Delivery]:
    return
    yield Delivery(SOURCE, ())


@asynccontextmanager
async def open_rehearsal(
    site: Site, rules: Mapping[str, Rule], left_out: Callable[[str], None] = lambda words: None
) -> AsyncIterator[Rehearsal]:
    """The engine on a fast clock and a ledger of its own, which nobody hears.

    Rules that are switched off run here, too: somebody has asked for them.
    """
    rules = {name: replace(rule, enabled=True) for name, rule in rules.items()}
    clock, todo = VirtualClock(), deque[Run]()
    async with AsyncExitStack() as lifetimes:
        lifetimes.enter_context(alone())
        kept = await open_in_memory(lifetimes, "rehearsal", clock)
        assembly = await assemble(site, rules, kept, clock, {SOURCE: RECORDED})
        executor = local_executor(site, wall_clock)
        if any(rule.job for rule in rules.values()):
            await lifetimes.enter_async_context(executor)
        shop = assembly.workshop(
            Executors(executor, executor), "rehearsal", Path.cwd(), _unheard, _at_once
        )
        await lifetimes.enter_async_context(shop)
        engine = assembly.engine(
            "rehearsal", [Tape()], todo.append, lambda notices: None, shop.drain
        )
        yield Rehearsal(engine, clock, todo, shop.perform, left_out)


async def _unheard(run: Run) -> None:
    return None


async def _at_once(seconds: float) -> None:
    return None


async def run_rule_tests(site: Site, names: Sequence[str]) -> list[Case]:
    """Runs the tests beside the rules of a site; all of them where no rule is named."""
    chosen = choose(names, site.rules, _broken(site)) or list(site.rules)
    return await run_cases(
        [site.rules[name] for name in chosen], lambda rules: open_rehearsal(site, rules)
    )


async def run_backtest(
    site: Site,
    names: Sequence[str],
    files: Sequence[Path],
    tell: Callable[[Row], None],
    progress: Callable[[str], None],
    reject: Callable[[str], None],
) -> None:
    """Plays recorded streams through a site's rules.

    `reject` hears of lines that are no event, and of events that lie too far in the future.
    Without names all rules that are switched on; one that is named may be switched off.
    """
    chosen = choose(names, site.rules, _broken(site))
    rules = site.rules if chosen else {rule.id: rule for rule in site.active}
    await play_past(
        rules, chosen, _events(files, reject),
        lambda rules: open_rehearsal(site, rules, reject), tell, progress,
    )  # fmt: skip


async def run_tuning(
    site: Site,
    name: str,
    files: Sequence[Path],
    factors: Sequence[float],
    progress: Callable[[str], None],
    reject: Callable[[str], None],
) -> Tuned:
    """Plays recorded streams through variants of one rule, all in one pass."""
    (chosen,) = choose([name], site.rules, _broken(site))
    variants = variants_of(site.rules[chosen], factors)
    by_rule = {one.rule.id: one for one in variants}
    rules = {**site.rules, **{one.rule.id: one.rule for one in variants}}
    span: list[Instant] = []

    def events() -> Iterable[Event]:
        for event in _events(files, reject):
            span[:] = [min(span[0], event.time), max(span[1], event.time)] if span else [
                event.time, event.time]  # fmt: skip
            yield event

    await play_past(
        rules, list(by_rule), events(), lambda rules: open_rehearsal(site, rules, reject),
        lambda row: by_rule[row["rule"]].take(row), progress,
    )  # fmt: skip
    if not span:
        raise CatcherError("the recording holds no event", "see `catcher backtest` for its lines")
    first, last = span
    for one in variants:
        one.end(last)
    return Tuned(variants, first, last)


def _broken(site: Site) -> list[str]:
    return [broken.id for broken in site.broken if broken.id]


def _events(files: Sequence[Path], reject: Callable[[str], None]) -> Iterable[Event]:
    for one in read_recorded(files):
        if isinstance(one, Event):
            yield one
        else:
            reject(str(one))
