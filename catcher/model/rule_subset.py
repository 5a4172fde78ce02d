"""The shard of a site's rules that an engine runs, beside other engines on one ledger."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_EXCLUSIVE, _SHARED = "engine", "shared"
_LEASE_PATTERN = re.compile(r"(engine|shared)(?: ([+-])(\S+))?(?: (\S+))?")


@dataclass(frozen=True, slots=True)
class RuleSubset:
    """The rules with one of `tags`, or those with none of `excluded_tags`; without both, all rules.

    One engine at a time runs a subset, others stand by. A `shared` one is run by several at once:
    its rules keep no state from one event to the next.
    """

    tags: tuple[str, ...] = ()
    excluded_tags: tuple[str, ...] = ()
    shared: bool = False

    @property
    def name(self) -> str:
        """`+mount,wind` or `-images`; empty for all rules."""
        if self.tags:
            return "+" + ",".join(sorted(set(self.tags)))
        return "-" + ",".join(sorted(set(self.excluded_tags))) if self.excluded_tags else ""

    @property
    def broker_name(self) -> str:
        """The same as part of a name that brokers accept: `mount.wind`; empty for all rules."""
        prefix = "not." if self.excluded_tags and not self.tags else ""
        return prefix + ".".join(sorted(set(self.tags or self.excluded_tags)))

    def includes_rule_with_tags(self, tags: Collection[str]) -> bool:
        """True if a rule with these tags belongs to it."""
        if self.tags:
            return not set(self.tags).isdisjoint(tags)
        return set(self.excluded_tags).isdisjoint(tags)

    def build_lease_name(self, engine: str) -> str:
        """Returns the name of the lease by which an engine holds it."""
        mode = _SHARED if self.shared else _EXCLUSIVE
        parts = [mode, *([self.name] if self.name else []), *([engine] if self.shared else [])]
        return " ".join(parts)

    def conflicts_with(self, other: RuleSubset) -> bool:
        """True if an engine with the other subset must not run at the same time."""
        if self.shared and other.shared and self.name == other.name:
            return False
        if not (self.name and other.name):
            return True
        own_tags, other_tags = set(self.tags), set(other.tags)
        if own_tags and other_tags:
            return not own_tags.isdisjoint(other_tags)
        if own_tags:
            return not own_tags <= set(other.excluded_tags)
        return not other_tags or not other_tags <= set(self.excluded_tags)


ALL_RULES = RuleSubset()


def parse_subset_from_lease(lease: str) -> RuleSubset:
    """Returns the subset that a lease of this name is for."""
    match = _LEASE_PATTERN.fullmatch(lease)
    if match is None:
        return ALL_RULES
    mode, sign, tags, _ = match.groups()
    names = tuple((tags or "").split(",")) if sign else ()
    shared = mode == _SHARED
    return RuleSubset(names, (), shared) if sign == "+" else RuleSubset((), names, shared)
