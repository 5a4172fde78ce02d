"""What a running engine is asked about itself: its parts, its backlog, what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from catcher.alerting import Alerting
from catcher.engine import Engine
from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.time import Instant
from catcher.ports import Row
from catcher.streams import Streams
from catcher.vitals import Backlog, Census, LoopMeter, Part, Picture, Pulse
from catcher.vitals.process import look

PROBE = 2.0
"""Seconds that the ledger has to answer."""
LOST = ("starting", "away")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What there is to watch once an engine is put together.

    `parts` is whatever has a health; `backlog` the workshop's rows; `oldest` the courier's.
    """

    engine: Engine
    alerting: Alerting
    parts: Callable[[], Sequence[Part]]
    backlog: Callable[[], Iterator[Row]]
    oldest: Callable[[], Mapping[str, Instant]]

    @property
    def streams(self) -> Streams:
        """What the engine tells as it happens."""
        return self.engine.parts.streams

    def unheard(self) -> Iterator[str]:
        """Sources that bring nothing, and a ledger that is away, in words."""
        for part in self.parts():
            if part.role == "source" and part.health.state in LOST:
                yield _words(part)
        if self.engine.books.away:
            yield self.engine.books.problem

    def flawed(self) -> Iterator[str]:
        """Parts that are away without which the engine still does its work."""
        for part in self.parts():
            if part.role != "source" and part.health.state == "away":
                yield _words(part)

    async def ledger(self) -> str:
        """Why the ledger does not answer; empty where it does."""
        try:
            async with asyncio.timeout(PROBE):
                await self.engine.parts.ledger.positions()
        except TimeoutError:
            return f"the ledger has not answered for {PROBE:g} s"
        except CatcherError as error:
            return f"the ledger does not answer: {error.message}"
        return ""

    def backlogs(self, census: Census) -> list[Backlog]:
        """The rules that have run jobs, the longest backlog first; runs by hand count, too."""
        found: dict[str, Backlog] = {}
        for row in self.backlog():
            one = Backlog(
                row["rule"], row["overlap"], row["running"], row["waiting"], row["spilled"],
                row["dropped"],
            )  # fmt: skip
            other = found.get(one.rule)
            found[one.rule] = _both(one, other, bool(row["manual"])) if other else one
        weighed = [census.weighed(one) for one in found.values()]
        return sorted(weighed, key=lambda one: (-one.waiting, -one.running, one.rule))

    def healths(self, backlog: Callable[[], Sequence[Row]]) -> Callable[[], list[Health]]:
        """How everything is doing: the parts, the rules for which runs wait or were dropped,
        and those who follow."""

        def found() -> list[Health]:
            waiting = [
                Health(row["rule"], "backlog", "ok", counts=_counts(row))
                for row in backlog()
                if row["waiting"] or row["dropped"]
            ]
            watchers = {"watching": self.streams.watching, "lost": self.streams.lost}
            board = Health("watchers", "live", "ok", counts=watchers)
            return [*(part.health for part in self.parts()), *waiting, board]

        return found

    def picture(
        self, pulse: Pulse, meter: LoopMeter, census: Census, info: Mapping[str, str],
        started: Instant, blocks: int, ready: bool, withheld: int,
    ) -> Picture:  # fmt: skip
        """All figures of this moment."""
        parts, now = self.engine.parts, self.engine.parts.clock()
        found = list(self.parts())
        sources = [one.health.name for one in found if one.role == "source"]
        return Picture(
            now=now, started=started, info=info, ready=ready, pulse=pulse, meter=meter,
            blocks=blocks, census=census, parts=found, process=look(),
            marks=parts.admission.watermarks(now),
            last={name: parts.admission.last(name) for name in sources},
            rules=parts.network.counts(memory=False), backlogs=self.backlogs(census),
            oldest=self.oldest(),
            steps=self.engine.waiting, owed=self.engine.books.owed,
            unkept=self.engine.books.lost, alerts=self.alerting.active(),
            watchers=(self.streams.watching, self.streams.lost), withheld=withheld,
        )  # fmt: skip


def _counts(row: Row) -> dict[str, int]:
    counts = {name: int(row[name]) for name in ("waiting", "running", "spilled", "dropped")}
    drain = row["drain"]
    return counts if drain is None else {**counts, "seconds_to_drain": round(drain)}


def _words(part: Part) -> str:
    problem = f": {part.health.problem}" if part.health.problem else ""
    return f"{part.name} is {part.health.state}{problem}"


def _both(one: Backlog, other: Backlog, by_hand: bool) -> Backlog:
    return replace(
        other,
        overlap=other.overlap if by_hand else one.overlap,
        running=one.running + other.running,
        waiting=one.waiting + other.waiting,
        spilled=one.spilled + other.spilled,
        dropped=one.dropped + other.dropped,
    )
