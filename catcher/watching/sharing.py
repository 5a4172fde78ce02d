"""The windows of one key, kept once for all rules that look at the same samples."""

from __future__ import annotations

from collections.abc import Sequence

from catcher.model.event import Event
from catcher.watching.cells import Cell
from catcher.watching.company import Company, Member, SlotKey
from catcher.watching.frames import Eval, Frame
from catcher.watching.memories import Slot
from catcher.watching.windows import Window


class Pool:
    """The slots that the members of a company share for one key.

    A member whose own hold other samples (its rule is younger, say) is a stranger: it keeps and
    fills its own until they hold the same.
    """

    __slots__ = ("_company", "_frame", "_key", "_slots", "fills", "strangers")

    def __init__(self, company: Company, key: str) -> None:
        self._company = company
        self._key = key
        self._frame = Frame()
        self._slots: dict[SlotKey, Slot] = {}
        self.fills: list[tuple[Eval, Slot]] = []
        self.strangers: set[int] = set()

    def join(self) -> None:
        """Everybody whose slots hold the same gives them up for those of all."""
        found: dict[SlotKey, tuple[Eval, Slot]] = {}
        self._slots.clear()
        self.strangers.clear()
        cells = [(member, self._cell(member)) for member in self._company.members]
        for member, cell in sorted(cells, key=lambda pair: not pair[1].shared):
            places = list(member.places(cell))
            if not all(self._agrees(place.key, place.slots[place.index]) for place in places):
                self.strangers.add(member.index)
                continue
            for place in places:
                kept = self._slots.setdefault(place.key, place.slots[place.index])
                if place.key not in found:
                    found[place.key] = place.plan.source, kept
                    self._widen(place.key, kept)
                place.slots[place.index] = kept
            self._mark(member, cell, bool(places))
        self.fills = list(found.values())

    def _cell(self, member: Member) -> Cell:
        return member.watch.keys.cell(self._key)

    def _agrees(self, key: SlotKey, slot: Slot) -> bool:
        kept = self._slots.get(key)
        return kept is None or kept is slot or kept.agrees(slot)

    def _widen(self, key: SlotKey, slot: Slot) -> None:
        if isinstance(slot, Window):
            slot.serve(self._company.functions[key])

    def _mark(self, member: Member, cell: Cell, shared: bool) -> None:
        cell.shared = cell.machines[member.branch.index].shared = shared

    def leave(self) -> None:
        """Everybody gets slots of its own again."""
        for member in self._company.members:
            cell = member.watch.keys.cells.get(self._key)
            if cell is None or not cell.shared:
                continue
            for place in member.places(cell):
                own = place.plan.make()
                own.load(place.slots[place.index].save())
                place.slots[place.index] = own
            self._mark(member, cell, False)
        self._slots.clear()
        self.fills = []

    def fill(self, event: Event) -> None:
        """A sample, taken in once for all."""
        _, now, fields, _ = event
        frame = self._frame
        frame.now = now
        for source, slot in self.fills:
            slot.push(now, source(fields, frame))

    def slots(self, member: Member, levels: bool) -> Sequence[Slot] | None:
        """The slots as a member's closures know them; None where it has its own."""
        if member.index in self.strangers:
            return None
        cell = self._cell(member)
        return cell.level_slots if levels else cell.machines[member.branch.index].slots
