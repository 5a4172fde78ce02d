"""Fronts: many rules on one topic answered together, as long as nothing changes for them.

A front stands before the machines of rules that listen to the same events. It proves that a
sample changes no truth of any condition, and that no hold completes and no silence was too long;
then it only notes that the sample came. Wherever it cannot prove that, it calls the machines,
which alone decide. What it noted is handed to a machine before it is called or looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from catcher.model.event import Event
from catcher.model.time import MAX_INSTANT, Instant
from catcher.watching.company import Company, Member
from catcher.watching.frames import Frame
from catcher.watching.keys import MOST_KEYS
from catcher.watching.posts import NOBODY, Post
from catcher.watching.stretches import Stretch
from catcher.watching.values import text_of
from catcher.watching.watch import Watch


class Front:
    """The rules of one topic, `where` and `by`. `take` tells whom to ask for their decisions."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.company = Company(watches)
        first = self.company.members[0].branch
        self._where = first.where.truth if first.where is not None else None
        self._by = first.by
        node = first.by_node
        plain = node is not None and node.kind == "field" and len(node.value) == 1
        self._by_field = str(node.value[0]) if plain and node is not None else ""
        self.plain = self._by is None and self._where is None and self.company.plain
        """Whether a stretch of events can be looked at together."""
        self._posts: dict[str, Post] = {}
        self._known: dict[int | str, Post] = {}
        self._frame = Frame()
        self._sources: set[str] = set()
        self._dues: list[tuple[Instant, int]] = []
        self._due: Instant = MAX_INSTANT
        self._syncing = False
        self._looked = False
        for member in self.company.members:
            member.watch.stand_behind(Sentry(self, member))
            self.expect(member, member.watch.timers.next())

    # -- events -----------------------------------------------------------------------------

    def take(self, event: Event, late: bool) -> Sequence[Watch]:
        """An event of the topic; the rules that had to be asked and may have decided."""
        _, now, fields, source = event
        company = self.company
        if not self._looked:
            self._look()
        if late or now < company.newest or now < company.settled:
            return self._take_late(event, late)
        if source not in self._sources:
            self._meet(event)
        settled = self._settle(now) if now > self._due else NOBODY
        self._frame.now = now
        post = None
        if self._where is None or self._where(fields, self._frame) is True:
            post = self._post(event)
            company.unknown += post is None
        if post is None:
            company.newest = now
            company.seen += 1
            return settled
        asked = post.take(event) if post.passed else post.begin(event, self._crowded())
        return [*settled, *asked] if settled else asked

    def take_stretch(self, stretch: Stretch) -> Iterator[tuple[int, Sequence[Watch]]]:
        """The same for many events, of which those that change nothing are not looked at.

        Gives the places of the others, and whom they concern.
        """
        company, post, events = self.company, self._posts.get(""), stretch.events
        known = self._looked and stretch.source in self._sources
        places, done = None, 0
        if post is not None and known and stretch.start >= max(company.newest, company.settled):
            places = post.places(stretch)
        for place in [*places, len(events)] if places is not None else ():
            if post is None or not self._is_calm(post, stretch):
                break
            if place > done:
                post.skip(events[place - 1], place - done)
            if place < len(events):
                yield place, post.take(events[place])
            done = place + 1
        for place in range(done, len(events)):
            yield place, self.take(events[place], False)

    def _is_calm(self, post: Post, stretch: Stretch) -> bool:
        """Whether nothing but a value that moves can concern anybody up to the end."""
        return stretch.end <= self._due and self._posts.get("") is post and post.calm(stretch)

    def _post(self, event: Event) -> Post | None:
        """The post of an event's key; None where that is unknown."""
        if self._by is None:
            return self._posts.get("") or self._new("")
        raw: Any = event.fields.get(self._by_field) if self._by_field else None
        usual = type(raw) is int or type(raw) is str
        if usual and raw in self._known:
            return self._known[raw]
        key = self._key(event)
        if key is None:
            return None
        post = self._posts.get(key) or self._new(key)
        if usual:
            self._known[raw] = post
        return post

    def _key(self, event: Event) -> str | None:
        return "" if self._by is None else text_of(self._by(event.fields, self._frame))

    def _new(self, key: str) -> Post:
        if self._crowded():
            self.sync()
        post = self._posts[key] = Post(self.company, key)
        return post

    def _crowded(self) -> bool:
        """Whether a key more may mean that another has to go, so that each needs its machines."""
        return len(self._posts) >= MOST_KEYS

    def _take_late(self, event: Event, late: bool) -> Sequence[Watch]:
        """Every member sees the event itself; those for which it is not late start anew."""
        for member in self.company.members:
            self.company.hand_over(member)
        if not late and not all(self._is_behind(member, event.time) for member in self._members):
            self.leaving(self._key(event) or "")
        self.company.newest = max(self.company.newest, event.time)
        for member in self._members:
            member.watch.next_event()
            member.watch.take(member.branch, event, late)
        return [member.watch for member in self._members]

    def _is_behind(self, member: Member, now: Instant) -> bool:
        latest = member.watch.latest.get(member.branch.index, now)
        return now < latest or now < member.watch.settled

    def _meet(self, event: Event) -> None:
        self._sources.add(event.source)
        for member in self._members:
            member.watch.know_source(event)

    @property
    def _members(self) -> Sequence[Member]:
        return self.company.members

    # -- time -------------------------------------------------------------------------------

    def expect(self, member: Member, due: Instant | None) -> None:
        """A timer of a member falls due then."""
        if due is not None and (member.due is None or due < member.due):
            member.due = due
            heappush(self._dues, (due, member.index))
            self._due = self._dues[0][0]

    def _settle(self, now: Instant) -> list[Watch]:
        """Runs the timers that fall due before an event."""
        asked = []
        while self._dues and self._dues[0][0] < now:
            due, index = heappop(self._dues)
            member = self._members[index]
            if member.due == due:
                member.due = None
                member.watch.settle(now)
                self.expect(member, member.watch.timers.next())
                asked.append(member.watch)
        self._due = self._dues[0][0] if self._dues else MAX_INSTANT
        return asked

    def ran(self, member: Member, key: str) -> None:
        """A timer of a member has run: it has to see the next event of the key."""
        self.company.settled = max(self.company.settled, member.watch.settled)
        post = self._posts.get(key)
        if post is not None:
            post.restless.add(member.index)

    # -- handing over -----------------------------------------------------------------------

    def _look(self) -> None:
        self._looked = True
        self.company.look()
        for member in self._members:
            self._sources &= member.watch.sources
            self.expect(member, member.watch.timers.next())

    def hand_over(self, member: Member, key: str) -> None:
        """Tells a member what was noted of a key."""
        post = self._posts.get(key)
        if post is not None:
            post.hand_over(member)

    def sync(self) -> None:
        """Tells every member what was noted."""
        if self._syncing:
            return
        self._syncing = True
        for member in self._members:
            self.company.hand_over(member)
        for post in list(self._posts.values()):
            post.sync()
        self._syncing = False

    def leaving(self, key: str) -> None:
        """A key is about to be forgotten by a member; the others go on without this one."""
        post = self._posts.pop(key, None)
        if post is not None:
            self._known.clear()
            post.leave()

    def disband(self) -> None:
        """The machines have to see everything themselves, until the front finds out anew."""
        self.sync()
        for post in self._posts.values():
            post.leave()
        self.retire()

    def retire(self) -> None:
        """Nothing is noted any longer; what is shared stays so for the front that comes after."""
        self.sync()
        self._posts.clear()
        self._known.clear()
        self._looked = False


class Sentry:
    """What a rule tells its front."""

    __slots__ = ("_front", "_member")

    def __init__(self, front: Front, member: Member) -> None:
        self._front = front
        self._member = member

    def timer_set(self, due: Instant) -> None:
        """A timer was set, earlier than all others."""
        self._front.expect(self._member, due)

    def hand_over(self, key: str) -> None:
        """The machines of a key are about to be called: what was noted for them comes first."""
        self._front.hand_over(self._member, key)

    def timer_ran(self, key: str) -> None:
        """A timer of a key has run, which may have changed anything."""
        self._front.ran(self._member, key)

    def leaving(self, key: str) -> None:
        """A key is about to be forgotten."""
        self._front.leaving(key)

    def sync(self) -> None:
        """All keys are about to be looked at."""
        self._front.sync()
