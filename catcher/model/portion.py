"""Which of a site's rules an engine carries, beside other engines on one ledger."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_WHOLE, _SHARED = "engine", "shared"
_TAGS = re.compile(r"(engine|shared)(?: ([+-])(\S+))?(?: (\S+))?")


@dataclass(frozen=True, slots=True)
class Portion:
    """The rules with one of `tags`, or those with none of `without`; without both, all rules.

    One engine at a time carries a portion, others stand by. A `shared` one is carried by several
    at once: its rules keep no state from one event to the next.
    """

    tags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    shared: bool = False

    @property
    def name(self) -> str:
        """`+mount,wind` or `-images`; empty for the whole."""
        if self.tags:
            return "+" + ",".join(sorted(set(self.tags)))
        return "-" + ",".join(sorted(set(self.without))) if self.without else ""

    @property
    def label(self) -> str:
        """The same as part of a name that brokers take: `mount.wind`; empty for the whole."""
        sign = "not." if self.without and not self.tags else ""
        return sign + ".".join(sorted(set(self.tags or self.without)))

    def carries(self, tags: Collection[str]) -> bool:
        """Whether a rule with these tags belongs to it."""
        if self.tags:
            return not set(self.tags).isdisjoint(tags)
        return set(self.without).isdisjoint(tags)

    def lease(self, engine: str) -> str:
        """The name of the lease by which an engine holds it."""
        head = _SHARED if self.shared else _WHOLE
        parts = [head, *([self.name] if self.name else []), *([engine] if self.shared else [])]
        return " ".join(parts)

    def excludes(self, other: Portion) -> bool:
        """Whether an engine with the other portion must not work at the same time."""
        if self.shared and other.shared and self.name == other.name:
            return False
        if not (self.name and other.name):
            return True
        mine, theirs = set(self.tags), set(other.tags)
        if mine and theirs:
            return not mine.isdisjoint(theirs)
        if mine:
            return not mine <= set(other.without)
        return not theirs or not theirs <= set(self.without)


WHOLE = Portion()


def portion_of(lease: str) -> Portion:
    """The portion that a lease of this name is about."""
    match = _TAGS.fullmatch(lease)
    if match is None:
        return WHOLE
    head, sign, tags, _ = match.groups()
    names = tuple((tags or "").split(",")) if sign else ()
    shared = head == _SHARED
    return Portion(names, (), shared) if sign == "+" else Portion((), names, shared)
