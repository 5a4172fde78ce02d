"""Keeps what the engine decided, and only then acts on it: one commit after the other.

While a commit is being written the engine goes on deciding; what it comes to meanwhile is the
next commit. Nothing is acknowledged, handed out or answered before it is kept. Alerts alone do
not wait for a ledger that is away: their notices go out at once, marked as unrecorded, under
the ids that the ledger will know them by.

What is owed to a ledger is bounded. First durable events are left with whoever brings them, then
what telemetry leads to is told and no longer kept, which is counted; alerts never fall silent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex

from catcher.model.commit import Commit
from catcher.model.health import Update
from catcher.model.problem import CatcherError
from catcher.model.run import Run
from catcher.model.time import SECOND, Instant, Span
from catcher.ports import Delivery, StoreAway
from catcher.steps import Decided, Deed, Parts

MOST_OWED = 50_000
"""What may wait to be kept, in rows; beyond it no event is taken in that has to be kept."""
MOST_UNKEPT = 2 * MOST_OWED
"""So much may be owed to a ledger that is away; what comes beyond it is told, and not kept."""
PATIENCE: Span = 2 * SECOND
"""After so long without an answer the ledger is away, and alerts go out without it."""
SAVE_EVERY: Span = 10 * SECOND
RETRY = 1.0
FOR_MORE_PARTS = 0.025
"""How long finished parts of runs wait for others: a commit each would cost more than they do."""
LAST_TRIES = 3
"""How often a ledger that is away is asked once more when the engine has to stop."""

Outcome = Decided | CatcherError


@dataclass
class Owed:
    """What one commit is made of, and who waits for it."""

    decided: Decided = field(default_factory=Decided)
    deliveries: list[Delivery] = field(default_factory=list)
    deeds: list[tuple[Deed, Outcome]] = field(default_factory=list)
    save: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is owed and nobody waits."""
        return self.decided.empty and not (self.save or self.deliveries or self.deeds)

    @property
    def unhurried(self) -> bool:
        """Whether nobody waits for it but the gathering of parts."""
        return self.decided.only_parts and not (self.save or self.deliveries or self.deeds)


class Bookkeeper:
    """Writes what is owed to the ledger in its order, then tells, hands out and acknowledges.

    `parts` are the engine's as they are now; `hand_out` takes each run that is new and kept.
    """

    def __init__(self, parts: Callable[[], Parts], hand_out: Callable[[Run], None]) -> None:
        self._parts, self._hand_out = parts, hand_out
        self.between_steps = asyncio.Lock()
        """Held while a step is taken: what it decided and the states it left go together."""
        self.problem = ""
        self.away = False
        self._owed, self._writing = Owed(), Owed()
        self._asked: Instant | None = None
        self._arrived, self._settled = asyncio.Event(), asyncio.Event()
        self._back = asyncio.Event()
        self._back.set()
        self._giving_up = self._crowded = False
        self.uncovered = False
        """Whether the inbox holds what no saved state knows of."""
        self.durable: set[str] = set()
        """The sources whose events are in the inbox."""
        self.lost: Counter[str] = Counter()
        """What was not kept, by kind, since the ledger was away for too long."""
        self._said_lost: Counter[str] = Counter()
        self._distinct = 0
        self._reached: dict[str, str] = {}
        self._saved: Instant = 0
        self._series, self._tokens = token_hex(8), 0

    # -- taking in ----------------------------------------------------------------------------

    def add(
        self,
        decided: Decided,
        deliveries: Iterable[Delivery] = (),
        deeds: Iterable[tuple[Deed, Outcome]] = (),
        *,
        save: bool = False,
    ) -> None:
        """What a step came to, who waits for it, and whether all states are to be saved."""
        if self.away:
            self._tell_directly(decided)
            self._bound(decided)
        owed = self._owed
        owed.decided.absorb(decided)
        owed.deliveries += deliveries
        owed.deeds += deeds
        owed.save = owed.save or save
        self.durable.update(one.source for one in owed.deliveries if one.durable)
        self._arrived.set()

    async def take(
        self,
        decided: Decided,
        deliveries: Sequence[Delivery],
        deeds: Iterable[tuple[Deed, Outcome]],
    ) -> None:
        """The same; a delivery that is not durable waits for nothing.

        However long the ledger is away, telemetry goes on: it must not pile up here.
        """
        self.add(decided, [one for one in deliveries if one.durable], deeds)
        for delivery in deliveries:
            if not delivery.durable:
                await delivery.done()

    def take_up(self, sources: Collection[str]) -> None:
        """Events of these sources came in again from the inbox; some may be held back still."""
        self.uncovered = bool(sources)
        self.durable.update(sources)

    @property
    def idle(self) -> bool:
        """Whether all is kept and acted on."""
        return self._owed.empty and self._writing.empty

    @property
    def owed(self) -> int:
        """How many rows wait to be kept."""
        return self._owed.decided.size + self._writing.decided.size

    async def room(self) -> None:
        """Returns once there is room for more; a ledger that is away is not waited for."""
        while self._owed.decided.size > MOST_OWED and not self.away:
            self._settled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY):
                    await self._settled.wait()
            self.look(self._parts().clock())

    async def room_to_keep(self) -> None:
        """Returns once there is room for events that have to be kept, however long that takes."""
        if self._owed.decided.size > MOST_OWED and not self._crowded:
            self._crowded = True
            self._tell(
                f"ledger: {MOST_OWED} rows wait for it; events that have to be kept wait too"
            )
        while self._owed.decided.size > MOST_OWED:
            self._settled.clear()
            await self._settled.wait()
        self._crowded = False

    def _bound(self, decided: Decided) -> None:
        """While the ledger is away for long: only what came of durable events is still owed.

        Of alerts the latest state is, whatever else becomes of them.
        """
        owed = self._owed.decided
        if owed.size <= MOST_UNKEPT:
            return
        if len(owed.alerts) > 2 * self._distinct + 1000:
            owed.alerts = list({(one.id, one.episode): one for one in owed.alerts}.values())
            self._distinct = len(owed.alerts)
        if decided.inbox:
            return
        if not self.lost - self._said_lost:
            self._tell("ledger: it is away for too long; what telemetry leads to is told, not kept")
        for kind in ("firings", "runs", "notices", "audit"):
            rows = getattr(decided, kind)
            self.lost[kind] += len(rows)
            rows.clear()

    async def reachable(self) -> None:
        """Returns once the ledger is not away."""
        await self._back.wait()

    async def kept(self) -> None:
        """Returns once nothing is owed, while `run` writes."""
        while not self.idle:
            self._settled.clear()
            await self._settled.wait()

    def look(self, now: Instant) -> None:
        """Saves the states in time; alerts do not wait for a ledger that does not answer."""
        if self._stale(now):
            self._owed.save = True
            self._arrived.set()
        if self._asked is not None and not self.away and now - self._asked > PATIENCE:
            self._lose(StoreAway("it does not answer", "see that it runs"))

    def _stale(self, now: Instant) -> bool:
        """Whether the states were saved too long ago, or in what a clock set back calls future."""
        return not 0 <= now - self._saved <= SAVE_EVERY

    def stop(self) -> None:
        """A ledger that is away is not waited for much longer: what is owed comes again."""
        self._giving_up = True

    # -- writing ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes whatever is owed, for ever; no more than one commit at a time."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while not self._owed.empty:
                await self._more_parts()
                await self._write()

    async def _more_parts(self) -> None:
        """Where nothing but parts is owed, others may share their commit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FOR_MORE_PARTS):
                while self._owed.unhurried and not self._giving_up:
                    await self._arrived.wait()
                    self._arrived.clear()

    async def write_out(self) -> None:
        """Writes until nothing is owed. StoreAway where it gives up."""
        while not self._owed.empty:
            await self._write()

    async def _write(self) -> None:
        async with self.between_steps:
            self._writing, self._owed = self._owed, Owed()
            commit = self._commit_of(self._writing)
        new = await self._insist(commit)
        self._found()
        await self._act(new, self._writing)
        self._writing = Owed()
        self._settled.set()

    def _commit_of(self, owed: Owed) -> Commit:
        """One unit of work; a state and what it knows of are kept together."""
        parts, decided = self._parts(), owed.decided
        now = parts.clock()
        self._reached.update(decided.reached)
        self.uncovered = self.uncovered or bool(decided.inbox)
        if not (owed.save or decided.tells or self._stale(now)):
            return self._signed(decided.as_commit())
        self._saved = now
        # A position and the state that it belongs to are kept together, or what came between
        # the two would be lost to windows and holds.
        decided.positions.update(self._reached)
        self._reached.clear()
        held = tuple(one for one in parts.admission.held() if one.source in self.durable)
        covers, self.uncovered = self.uncovered, bool(held)
        states = tuple(parts.network.take_states())
        return self._signed(decided.as_commit(states=states, covers=covers, held=held))

    def _signed(self, commit: Commit) -> Commit:
        self._tokens += 1
        return replace(commit, token=f"{self._series}:{self._tokens}")

    async def _insist(self, commit: Commit) -> Commit:
        """Asks the ledger until it has kept a commit."""
        tries = LAST_TRIES
        while not commit.empty:
            self._asked = self._asked or self._parts().clock()
            try:
                with self._parts().vitals.committing():
                    return await self._parts().ledger.commit(commit)
            except StoreAway as trouble:
                self._lose(trouble)
                self._parts().vitals.turn()
                if self._giving_up and (tries := tries - 1) <= 0:
                    raise
                await asyncio.sleep(RETRY)
        return commit

    # -- acting -------------------------------------------------------------------------------

    async def _act(self, new: Commit, owed: Owed) -> None:
        parts = self._parts()
        parts.streams.pass_on(owed.decided.results)
        parts.streams.tell(new)
        for run in new.runs:
            self._hand_out(run)
        parts.send(new.notices)
        for delivery in owed.deliveries:
            await delivery.done()
        for deed, outcome in owed.deeds:
            deed.settle(outcome)

    def _lose(self, trouble: StoreAway) -> None:
        """The ledger is away: what is owed so far goes to the sinks without it."""
        problem = f"ledger: {trouble}"
        if self.problem != problem:
            self.problem = problem
            self._tell(problem)
        if not self.away:
            self.away = True
            self._back.clear()
            self._tell_directly(self._writing.decided)
            self._tell_directly(self._owed.decided)

    def _tell_directly(self, decided: Decided) -> None:
        for alert in decided.alerts:
            self._parts().streams.alerts.on_next(alert)
        self._parts().send([replace(one, unrecorded=True) for one in decided.notices])

    def _found(self) -> None:
        self._asked = None
        self._back.set()
        if self.away:
            self.away, self.problem, self._distinct = False, "", 0
            self._tell("ledger: it answers again; what waited is being kept")
            if lost := self.lost - self._said_lost:
                self._said_lost = self.lost.copy()
                words = ", ".join(f"{count} {kind}" for kind, count in lost.items())
                self._tell(f"ledger: it was away for too long to keep {words}; all were told")

    def _tell(self, words: str) -> None:
        parts = self._parts()
        parts.streams.publish(Update("problem", parts.clock(), words))
