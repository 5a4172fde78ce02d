"""What people do at the alert desk, each deed with its entry in the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catcher.alerting import handling
from catcher.alerting.aftercare import Aftercare
from catcher.alerting.changed import Changed, Refused, together
from catcher.alerting.desk import Desk
from catcher.alerting.silences import holds_back
from catcher.alerting.transitions import Known
from catcher.alerting.wording import is_address
from catcher.model.alert import Alert, AuditEntry, Severity
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.text import plain
from catcher.model.time import MINUTE, Instant, Span

CONFIRMED_WITHIN: Span = 30 * MINUTE
"""How long the new shift has to confirm what the old one shelved or silenced."""
MOMENTARY = frozenset({"event", "sequence", "result", "http"})
"""Triggers whose firing is about one thing that happened, not about something that goes on."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Who did what, when, through which channel."""

    who: str
    what: str
    now: Instant
    channel: str
    detail: Mapping[str, Any]

    def entry(self, subject: str, **more: Any) -> AuditEntry:
        """The deed in the audit trail."""
        detail = {**self.detail, **more}
        return AuditEntry(self.now, self.who, self.channel, self.what, subject[:200], detail)


class People:
    """Acknowledging, shelving, assigning, silencing, handing over."""

    def __init__(self, desk: Desk, aftercare: Aftercare) -> None:
        self._desk, self._aftercare = desk, aftercare

    # -- alerts --------------------------------------------------------------------------------

    def acknowledge(self, text: str, severity: Severity | None, note: str, deed: Deed) -> Changed:
        """Takes an alert, or all of a bundle, at the severity that was seen."""

        def act(alert: Alert) -> Known:
            seen = alert.shown_severity if severity is None else severity
            closes = _single(alert, self._desk.ways.rules.get(alert.rule))
            return handling.acknowledge(alert, seen, deed.who, note, deed.now, closes)

        return self._each(text, deed, act)

    def shelve(self, text: str, until: Instant, reason: str, deed: Deed) -> Changed:
        """Puts an alert, or all of a bundle, aside until an end."""
        return self._each(
            text, deed,
            lambda alert: handling.shelve(alert, until, deed.who, reason, deed.now),
        )  # fmt: skip

    def unshelve(self, text: str, deed: Deed) -> Changed:
        """Takes an alert off its shelf."""
        words = f"taken off the shelf by {deed.who}"
        return self._each(text, deed, lambda alert: handling.unshelve(alert, words))

    def confirm(self, text: str, deed: Deed) -> Changed:
        """Takes over the shelf of an alert, or a silence, of the shift before."""
        with_silence = self._of_silence(text)
        if not with_silence:
            return self._each(text, deed, lambda alert: handling.confirm(alert, deed.who))
        silence = replace(with_silence[0], who=deed.who, confirm_by=None, warned=False)
        kept = self._desk.silences.keep(silence)
        return Changed(audit=(deed.entry(kept.id),), silences=(kept,))

    def assign(self, text: str, to: str, deed: Deed) -> Changed:
        """Says who sees to an alert."""
        return self._each(
            text, deed, lambda alert: handling.assign(alert, plain(to, 100), deed.who)
        )

    def note(self, text: str, words: str, link: str, deed: Deed) -> Changed:
        """Says something about an alert, and where there is more."""

        def act(alert: Alert) -> Known:
            return handling.note(alert, deed.who, words, _link(link), deed.now)

        return self._each(text, deed, act)

    # -- silences ------------------------------------------------------------------------------

    def silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, until: Instant,
        reason: str, deed: Deed,
    ) -> Changed:  # fmt: skip
        """Holds back all news of what fits, until an end."""

        def act() -> Changed:
            made = self._desk.silences.add(
                name, labels, severity, until, deed.who, reason, deed.now
            )
            open_now = [one for one in self._desk.register if one.active and holds_back(made, one)]
            made = self._desk.silences.keep(replace(made, covered=len(open_now)))
            return Changed(audit=(deed.entry(made.id),), silences=(made,))

        return self._guarded(name, deed, act)

    def unsilence(self, text: str, deed: Deed) -> Changed:
        """Ends a silence before its time."""

        def act() -> Changed:
            silence = self._desk.silences.get(text)
            why = f"ended by {deed.who}"
            return self._aftercare.end_silence(silence, why, deed.now, deed.who, deed.channel)

        return self._guarded(text, deed, act)

    # -- shifts --------------------------------------------------------------------------------

    def hand_over(self, to: str, note: str, deed: Deed) -> Changed:
        """Another person is on shift: open alerts are theirs, shelves are theirs to confirm."""

        def act() -> Changed:
            shift = self._desk.rota.begin(to, deed.who, note, deed.now)
            alerts = [one for one in self._desk.register if one.active]
            moved = [self._move(alert, to, deed) for alert in alerts]
            by = deed.now + CONFIRMED_WITHIN
            asked = [
                self._desk.silences.keep(replace(one, confirm_by=by, warned=False))
                for one in self._desk.silences
                if one.who != to
            ]
            shelves = sum(one.state == "shelved" for one in alerts)
            entry = deed.entry("shift", alerts=len(alerts), shelves=shelves, silences=len(asked))
            whole = Changed(audit=(entry,), silences=tuple(asked), shifts=(shift,))
            return together([*moved, whole])

        return self._guarded("shift", deed, act)

    def _move(self, alert: Alert, to: str, deed: Deed) -> Changed:
        """One open alert changes hands; those on a shelf wait to be confirmed."""
        alert, moved = handling.assign(alert, to, deed.who)
        if alert.shelf is not None and alert.shelf.who != to:
            alert, moved = handling.ask_to_confirm(alert, deed.now + CONFIRMED_WITHIN)
        if not moved.real:
            return Changed()
        return self._desk.take(alert, moved, deed.now, deed.who, deed.channel, {"to": to})

    # -- how -----------------------------------------------------------------------------------

    def _each(self, text: str, deed: Deed, act: Callable[[Alert], Known]) -> Changed:
        """Does a deed to one alert, or to each of a bundle that it can be done to."""

        def do() -> Changed:
            members = self._of_bundle(text)
            if members is None:
                return self._one(self._desk.register.get(text), deed, act)
            done, refusals = [], []
            for alert in members:
                try:
                    done.append(self._one(alert, deed, act))
                except CatcherError as error:
                    refusals.append(error)
            if not done:
                raise (
                    refusals[0]
                    if refusals
                    else CatcherError(
                        "all alerts of this message are over", "nothing needs to be done"
                    )
                )
            return together(done)

        return self._guarded(text, deed, do)

    def _one(self, alert: Alert, deed: Deed, act: Callable[[Alert], Known]) -> Changed:
        alert, transition = act(alert)
        if transition.real:
            return self._desk.take(alert, transition, deed.now, deed.who, deed.channel, deed.detail)
        return Changed((alert,), (), (deed.entry(alert.id),))

    def _guarded(self, subject: str, deed: Deed, act: Callable[[], Changed]) -> Changed:
        """Carries a deed out, or refuses it with the entry that says so."""
        try:
            if not deed.who.strip():
                raise CatcherError(f"who wants to {deed.what}?", "give a name")
            return act()
        except CatcherError as error:
            raise Refused(error, deed.entry(subject, refused=error.message)) from error

    def _of_bundle(self, text: str) -> Iterable[Alert] | None:
        bundle = self._desk.bundles.find(text)
        if bundle is None:
            return None
        found = (self._desk.register.find(one) for one in self._desk.bundles.members(bundle.id))
        return [one for one in found if one is not None and one.active]

    def _of_silence(self, text: str) -> list[Any]:
        return [one for one in self._desk.silences if text and one.id.startswith(text)]


def _single(alert: Alert, rule: Rule | None) -> bool:
    """Whether an alert is about a single instance, such as one bad exposure.

    Nothing goes on that it would have to wait for: taking it closes it.
    """
    return bool(alert.per) and rule is not None and rule.trigger.kind in MOMENTARY


def _link(text: str) -> tuple[str, str] | None:
    """A name and an address from `name=https://…`, or from an address alone."""
    if not text:
        return None
    name, sign, address = text.partition("=")
    if not sign or "/" in name:
        name, address = "link", text
    if not is_address(address):
        raise CatcherError(f"{address[:80]!r} is no address", "write it like https://…")
    return name.strip()[:60] or "link", address
