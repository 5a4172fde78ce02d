"""Where one key of some rules stands: what was noted of it, and when they have to be asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant
from catcher.watching.company import Company, Member
from catcher.watching.fences import Fence, FieldFence, fences
from catcher.watching.sharing import Pool
from catcher.watching.stretches import Stretch
from catcher.watching.watch import Watch

NOBODY: tuple[Watch, ...] = ()
FIRST_TRY = 64
"""After so many events strangers are looked at again, and then after twice as many each time."""


class Post:
    """One key of a company."""

    __slots__ = (
        "_company", "_expected", "_handed", "_next_try", "_pool", "_starts", "_synced", "_timed",
        "_until", "fences", "key", "last", "latest", "passed", "restless",
    )  # fmt: skip

    def __init__(self, company: Company, key: str) -> None:
        self.key = key
        self.passed = 0
        self.latest: Event | None = None
        self.last: Instant = 0
        self.restless: set[int] = set()
        self._company = company
        self._timed = bool(company.holders)
        self._handed = [0] * len(company.members)
        self._synced = 0
        self._starts: list[tuple[Instant, int]] = []
        self._expected: dict[int, Instant] = {}
        self._until: Instant = MAX_INSTANT
        self._next_try = FIRST_TRY
        self._pool = Pool(company, key) if company.slotted else None
        self.fences: list[Fence] = []

    # -- events -----------------------------------------------------------------------------

    def begin(self, event: Event, crowded: bool) -> Sequence[Watch]:
        """The first event that it sees: who would do nothing at it need not be asked."""
        self._join(event)
        asked = [
            member.index
            for member in self._company.members
            if crowded or not member.quiet(self.key, event)
        ]
        return self.ask(event, asked)

    def _join(self, event: Event) -> None:
        """The members agree on the slots that they share, and every fence is where it is."""
        if self._pool is not None:
            self._pool.join()
            self._pool.fill(event)
        self.fences = fences(self._company, self._pool)
        for fence in self.fences:
            fence.moved(event.fields, event.time)

    def take(self, event: Event) -> Sequence[Watch]:
        """An event of the key, in time; the rules that were asked about it."""
        _, now, fields, _ = event
        pool, company = self._pool, self._company
        if pool is not None:
            if pool.strangers and self.passed >= self._next_try:
                return self._try_again(event)
            pool.fill(event)
        asked: Sequence[int] = ()
        for fence in self.fences:
            moved = fence.moved(fields, now)
            if moved:
                asked = [*asked, *moved] if asked else moved
        if self._timed and (now >= self._until or now - self.last > company.stale):
            asked = [*asked, *self._overdue(now)]
        if asked or self.restless or (pool is not None and pool.strangers):
            return self.ask(event, asked)
        # The commonest way of all, so `note` is written out.
        company.newest = self.last = now
        company.seen += 1
        self.passed += 1
        self.latest = event
        return NOBODY

    def _try_again(self, event: Event) -> Sequence[Watch]:
        self._next_try = 2 * self.passed
        self._join(event)
        return self.ask(event, range(len(self._company.members)))

    def _overdue(self, now: Instant) -> list[int]:
        """Whose holds complete, or may have been broken by a silence."""
        found: list[int] = []
        while self._starts and self._starts[0][0] <= now:
            found.append(heappop(self._starts)[1])
            self._expected.pop(found[-1], None)
        self._until = self._starts[0][0] if self._starts else MAX_INSTANT
        silent = now - self.last > self._company.stale
        return [*found, *self._company.holders] if silent else found

    def places(self, stretch: Stretch) -> list[int] | None:
        """Where in a stretch somebody has to be asked; None: look at each event."""
        if self._pool is not None or not self.calm(stretch):
            return None
        found: set[int] = set()
        for fence in self.fences:
            some = fence.places(stretch) if isinstance(fence, FieldFence) else None
            if some is None:
                return None
            found.update(some)
        return sorted(found)

    def calm(self, stretch: Stretch) -> bool:
        """Whether nothing but a value that moves can concern anybody up to its end."""
        if self.restless or not self.passed:
            return False
        if not self._timed:
            return True
        gap = max(stretch.longest_gap, stretch.start - self.last)
        return stretch.end < self._until and gap <= self._company.stale

    def skip(self, event: Event, count: int) -> None:
        """Events that change nothing, the last of them."""
        self._company.seen += count - 1
        self.passed += count - 1
        self.note(event)

    def note(self, event: Event) -> None:
        """An event that changes nothing for those who are not asked."""
        company = self._company
        company.newest = self.last = event.time
        company.seen += 1
        self.passed += 1
        self.latest = event

    def ask(self, event: Event, asked: Sequence[int]) -> Sequence[Watch]:
        """Some members see the event themselves, after all that was noted before it."""
        company = self._company
        if len(asked) == 1 and not self.restless and self._pool is None:
            members = [company.members[asked[0]]]
        else:
            members = self._chosen(asked)
        unknown = company.unknown
        for member in members:
            if not member.plain or member.unknown != unknown:
                self.hand_over(member)
        self.note(event)
        company_seen, own_seen, handed, key = company.seen, self.passed, self._handed, self.key
        for member in members:
            index = member.index
            seen, passed = company_seen - member.seen, own_seen - handed[index]
            member.seen, handed[index] = company_seen, own_seen
            member.watch.visit(member.branch, event, key, seen, passed)
            if self._timed:
                self._expect(member)
        return [member.watch for member in members]

    def _chosen(self, asked: Iterable[int]) -> list[Member]:
        chosen = {*asked, *self.restless}
        if self._pool is not None:
            chosen |= self._pool.strangers
        self.restless.clear()
        return [self._company.members[index] for index in sorted(chosen)]

    def _expect(self, member: Member) -> None:
        until = member.until(self.key)
        if until is not None and self._expected.get(member.index) != until:
            self._expected[member.index] = until
            heappush(self._starts, (until, member.index))
            self._until = self._starts[0][0]

    # -- handing over -----------------------------------------------------------------------

    def hand_over(self, member: Member) -> None:
        """Tells a member what was noted since it was last asked."""
        self._company.hand_over(member)
        passed = self.passed - self._handed[member.index]
        if passed and self.latest is not None:
            self._handed[member.index] = self.passed
            member.watch.catch_up_key(member.branch, self.key, self.latest, passed)

    def sync(self) -> None:
        """Tells every member."""
        if self._synced != self.passed:
            self._synced = self.passed
            for member in self._company.members:
                self.hand_over(member)

    def leave(self) -> None:
        """The members go back to slots of their own."""
        self.sync()
        if self._pool is not None:
            self._pool.leave()
