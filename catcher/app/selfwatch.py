"""The engine's self-watch, put together: what it is asked, and what it tells by itself."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from catcher.app.surroundings import Surroundings
from catcher.model import shown
from catcher.model.health import Update
from catcher.model.time import Clock, Span
from catcher.ports import Row
from catcher.vitals import (
    Beat,
    Block,
    Census,
    Heart,
    LoopMeter,
    Notifier,
    Outlet,
    Part,
    Pulse,
    Watchdog,
    families,
)
from catcher.vitals.exposition import exposed

PROBED = 5.0
"""Seconds between two looks at the ledger, for those who cannot wait for its answer."""
SPOKEN = 1.0
"""Seconds between two looks at what systemd may want to hear."""


class SelfWatch:
    """How one engine does (`ports.SelfWatch`), from before it is put together to its end."""

    def __init__(
        self, site: str, name: str, clock: Clock, environ: Mapping[str, str],
        pulse: Pulse | None = None,
    ) -> None:  # fmt: skip
        self.pulse = pulse or Pulse()
        self._notifier = Notifier(environ)
        self._site, self._name, self._clock = site, name, clock
        self._started = clock()
        self._meter = LoopMeter()
        self._watchdog = Watchdog(self._meter, _write, self._tell_block)
        self._census = Census()
        self._around: Surroundings | None = None
        self._heart: Heart | None = None
        self._ledger = ""
        self._blocked: str | None = None

    # -- lifetimes ----------------------------------------------------------------------------

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Speaks to systemd for as long as the context lasts."""
        if self._notifier.wanted and not faulthandler.is_enabled():
            # Its watchdog ends who hangs with SIGABRT: the stacks then go to the journal.
            faulthandler.enable()
        speaking = asyncio.create_task(self._speak(), name="systemd")
        try:
            yield
        finally:
            await _end(speaking)

    async def surround(self, lifetimes: AsyncExitStack, around: Surroundings) -> None:
        """An engine is put together: it is watched until `lifetimes` end."""
        self._around = around
        self._census = Census(known=around.alerting.active())
        runs = around.streams.runs.subscribe(self._census.run)
        alerts = around.streams.alerts.subscribe(self._census.alert)
        lifetimes.callback(runs.dispose)
        lifetimes.callback(alerts.dispose)
        probing = asyncio.create_task(self._probe(around), name="ledger-probe")
        lifetimes.push_async_callback(_end, probing)

    def standing_by(self, words: str) -> None:
        """Another engine holds the ledger; this one waits, which is what it is there for."""
        self.pulse.become("standing by", words)
        self._notifier.ready(words)

    def restoring(self) -> None:
        """The ledger is ours; what an earlier engine left is taken up."""
        self.pulse.become("restoring")
        self._notifier.status("restoring state")

    async def opened(
        self, lifetimes: AsyncExitStack, every: Span, outlets: Sequence[Outlet]
    ) -> None:
        """Everything is open and the API answers: from now on nothing may block the loop, and
        a heartbeat leaves by these ways, until `lifetimes` end."""
        lifetimes.enter_context(self._meter)
        lifetimes.enter_context(self._watchdog)
        self._heart = Heart(every, outlets, self._beat)
        await lifetimes.enter_async_context(self._heart)
        self._notifier.ready(self._status())

    def stopping(self) -> None:
        """The engine was told to stop, or has come to its end."""
        if self.pulse.phase != "stopping":
            self.pulse.become("stopping")
            self._notifier.stopping("stopping: running jobs end, notices are delivered")

    def reloading(self, begins: bool) -> None:
        """The site's files are read anew, or have been."""
        if begins:
            self._notifier.reloading()
        else:
            self._notifier.ready(self._status())

    # -- asked --------------------------------------------------------------------------------

    def alive(self) -> str:
        """Why the engine counts as hung; empty while it lives."""
        return self.pulse.stalled()

    def vitals(self) -> Row:
        """Phase, turns, lag, and what last blocked the event loop, with its stack."""
        median, most = self._meter.lag.quantiles(0.5, 0.99)
        last = self._watchdog.last
        row = {
            "alive": not self.alive(),
            "problem": self.alive(),
            "site": self._site,
            "engine": self._name,
            "version": _version(),
            "started": shown.instant(self._started),
            "phase": self.pulse.phase,
            "words": self.pulse.words,
            "turns": self.pulse.turns,
            "turn_age": self.pulse.silence,
            "loop_lag": {"p50": median, "p99": most},
            "blocks": self._watchdog.count,
            "last_block": {**asdict(last), "told": self._blocked} if last else None,
            "heartbeats_withheld": self._heart.withheld if self._heart else 0,
        }
        return {name: shown.plain(value) for name, value in row.items()}

    async def unready(self) -> Sequence[str]:
        """Why the engine is not ready, in words; none when it is."""
        around = self._around
        if around is not None and self.pulse.phase == "running":
            self._ledger = await around.ledger()
        return self._problems()

    async def exposition(self) -> str:
        """All figures in the text form of Prometheus. It is long: a thread writes it."""
        around = self._around
        if around is None:
            return ""
        info = {"version": _version(), "site": self._site, "engine": self._name}
        withheld = self._heart.withheld if self._heart else 0
        picture = around.picture(
            self.pulse, self._meter, self._census, info, self._started, self._watchdog.count,
            not self._problems(), withheld,
        )  # fmt: skip
        found = []
        for family in families(picture):
            found.append(family)
            # With thousands of rules each is a millisecond or more, which nobody need wait for.
            await asyncio.sleep(0)
        return await asyncio.to_thread(exposed, found)

    def backlog(self) -> Sequence[Row]:
        """The rules that run jobs, with what goes on, waits and was dropped."""
        if self._around is None:
            return []
        found = self._around.backlogs(self._census)
        return [{**asdict(one), "grows": one.grows} for one in found]

    def parts(self) -> list[Part]:
        """The heartbeat's ways out."""
        return [Part("heartbeat", one) for one in self._heart.health()] if self._heart else []

    # -- inside -------------------------------------------------------------------------------

    def _problems(self) -> list[str]:
        """As far as is known without asking anybody."""
        phase = self.pulse.phase
        if phase != "running":
            return [self.pulse.words or phase]
        found = [self.pulse.stalled(), self._ledger]
        if self._around is not None:
            found += self._around.unheard()
        return [words for words in found if words]

    def _beat(self, last: bool) -> Beat | None:
        """The beat of now; None while the engine's own loop does not turn."""
        if last or self.pulse.phase == "stopping":
            state: Literal["stopping", "stopped"] = "stopped" if last else "stopping"
            return Beat(self._clock(), self._site, self._name, state)
        if self.pulse.stalled():
            return None
        problems = self._problems()
        flaws = list(self._around.flawed()) if self._around else []
        words, now = (*problems, *flaws), self._clock()
        return Beat(now, self._site, self._name, "degraded" if problems else "ok", words)

    async def _probe(self, around: Surroundings) -> None:
        while True:
            self._ledger = await around.ledger()
            await asyncio.sleep(PROBED)

    async def _speak(self) -> None:
        """systemd hears that we live while the engine's own loop turns, and how we do."""
        if not self._notifier.wanted:
            return
        while True:
            if not self.pulse.stalled():
                self._notifier.alive()
            if self.pulse.phase == "running":
                self._notifier.status(self._status())
            await asyncio.sleep(min(SPOKEN, self._notifier.interval or SPOKEN))

    def _status(self) -> str:
        problems = self._problems()
        return f"degraded: {problems[0]}" if problems else "watching"

    def _tell_block(self, block: Block) -> None:
        self._blocked = shown.instant(self._clock())
        if self._around is not None:
            self._around.streams.publish(Update("problem", self._clock(), str(block)))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _write(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _version() -> str:
    try:
        return version("observatory-catcher")
    except PackageNotFoundError:
        return "unknown"
