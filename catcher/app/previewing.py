"""What a rule's alert would look like in each sink, and a marked test through a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catcher.alerting import Alerting, Renderer, RouteTree, direct, filler, sample_values
from catcher.app.assembling import site_links
from catcher.app.editions import read_templates
from catcher.app.places import LateObjects, open_objects
from catcher.app.sink_kinds import Doorway, SinkNeeds, composed, make_sink, show
from catcher.authoring import choose
from catcher.model.alert import Alert, LevelChange, Notice, Severity, alert_id
from catcher.model.message import Shown
from catcher.model.problem import CatcherError
from catcher.model.rule import AlertSpec, Expr, Rule
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import Sink, SinkError
from catcher.site import Site
from catcher.watching import Compiler

Row = dict[str, Any]
PATIENCE = 15 * SECOND
_AGAIN = 0.2
TEST_RULE = "catcher-test"
_TEST_WORDS = "This is a test that somebody asked for. Nothing is wrong, nothing needs to be done."


@dataclass(frozen=True, slots=True)
class Preview:
    """What one sink would make of an alert; `problem` where it would fail."""

    sink: str
    kind: str
    shown: Shown
    problem: str = ""

    def as_json(self) -> Row:
        """For programs."""
        row = {"sink": self.sink, "kind": self.kind, "text": self.shown.text}
        return {**row, "sent": self.shown.sent, "problem": self.problem}


# -- a preview ----------------------------------------------------------------------------------


def preview(
    site: Site, name: str, severity: Severity | None, event: Mapping[str, Any], now: Instant
) -> tuple[Alert, list[Preview]]:
    """The alert that a rule would open, and what each sink on its way would show.

    `event` are fields of the event it is for; names that it does not give have stand-ins. No
    severity: the rule's lowest. CatcherError where there is no such rule, or it has no alert.
    """
    choose([name], site.rules, [one.id for one in site.broken if one.id])
    rule = site.rules[name]
    if rule.alert is None:
        raise CatcherError(f"{name} alerts nobody", "give it an alert:, with warning: or another")
    renderer = Renderer(read_templates(site))
    alert = _alert(site, rule, rule.alert, severity, event, renderer, now)
    sinks = direct(site.routes, alert, now, extra=rule.alert.to).sinks
    notice = Notice("preview", "", "opened", alert, 1, now)
    return alert, [_shown(site, renderer, sink, notice) for sink in sinks]


def _alert(
    site: Site, rule: Rule, spec: AlertSpec, severity: Severity | None, event: Mapping[str, Any],
    renderer: Renderer, now: Instant,
) -> Alert:  # fmt: skip
    """The alert as the engine would open it, in an alerting of its own."""
    declared = sorted(spec.levels)
    wanted = severity or (declared[0] if declared else spec.failed or Severity.WARNING)
    values = {**sample_values(spec.message), **rule.constants, **event}
    change = LevelChange(
        rule.id, _key(rule.trigger.by, event), _key(spec.per, event), wanted, now,
        _reason(spec, wanted), values,
    )  # fmt: skip
    alone = {rule.id: replace(rule, shadow=False)}
    changed = Alerting(alone, RouteTree(), renderer, site_links(site)).apply(change, now)
    if not changed.alerts:
        raise CatcherError(f"{rule.id} opens no alert at {wanted}", "choose another --severity")
    alert = changed.alerts[0]
    return replace(alert, attachment=alert.attachment or _plot(spec), sinks=())


def _key(expr: Expr | None, event: Mapping[str, Any]) -> str:
    """What keeps the rule's alerts apart, from the event; its expression where that lacks it."""
    if expr is None:
        return ""
    value = Compiler().value(expr.text)(event)
    return f"‹{expr.text}›" if value is None else str(value)


def _reason(spec: AlertSpec, severity: Severity) -> str:
    level = spec.levels.get(severity)
    return level.when.text if level is not None and level.when is not None else "always"


def _plot(spec: AlertSpec) -> str:
    return f"preview/{spec.attach}" if spec.attach else ""


def _shown(site: Site, renderer: Renderer, sink: str, notice: Notice) -> Preview:
    section = site.sinks.get(sink)
    if section is None:
        return Preview(sink, "", Shown("(whoever that is at the time)", None))
    try:
        return Preview(sink, section.kind, show(site, renderer, sink, replace(notice, sink=sink)))
    except (SinkError, CatcherError) as error:
        return Preview(sink, section.kind, Shown("", None), site.redact(str(error)))


# -- a test -------------------------------------------------------------------------------------


async def send_test(
    site: Site, data: Path, name: str, clock: Clock, write: Any = print,
    patience: Span = PATIENCE,
) -> Row:  # fmt: skip
    """Sends a marked test through a sink, and its end; a row of `doctor`."""
    choose_sink(site, name)
    renderer = Renderer(read_templates(site))
    async with AsyncExitStack() as lifetimes:
        needs = SinkNeeds(
            name=name, compose=composed(site, renderer, name), fill=filler(renderer),
            active=lambda: (), objects=LateObjects(lambda: open_objects(site, data)), clock=clock,
            lifetimes=lifetimes, write=write, redact=site.redact, doorway=Doorway(), trial=True,
        )  # fmt: skip
        sink = await make_sink(site, name, needs)
        opened = _test_notice(name, clock())
        try:
            receipt = await _deliver(sink, opened, patience)
            over = replace(opened.alert, state="resolved", severity=Severity.NONE, sequence=2)
            end = replace(
                opened, id=f"{opened.id}-end", alert=over, sequence=2, receipt=receipt,
                time=clock(),
            )  # fmt: skip
            await _deliver(sink, end, patience)
        except SinkError as error:
            words = site.redact(str(error))
            return _row(name, site, "error", f"the test did not arrive: {words}")
    return _row(name, site, "ok", "the test was taken")


def choose_sink(site: Site, name: str) -> None:
    """CatcherError where the site has no such sink, or one that is broken."""
    if name not in site.sinks:
        there = ", ".join(site.sinks) or "none"
        raise CatcherError(
            f"the site has no sink {name!r}", f"alerts/routes.yaml has {there}; `catcher check`?"
        )


def _row(name: str, site: Site, state: str, found: str) -> Row:
    hint = "mend what it says, then try again" if state == "error" else ""
    what = f"{site.sinks[name].kind} {name}"
    return {"what": what, "state": state, "found": found, "hint": hint}


def _test_notice(sink: str, now: Instant) -> Notice:
    alert = Alert(
        id=alert_id(TEST_RULE, sink, ""), rule=TEST_RULE, key=sink, per="", episode=1,
        state="firing", severity=Severity.WARNING, max_severity=Severity.WARNING, opened=now,
        changed=now, reason=_TEST_WORDS, message=_TEST_WORDS, sequence=1, since=now,
    )  # fmt: skip
    return Notice(f"test-{now:x}", sink, "test", alert, 1, now)


async def _deliver(sink: Sink, notice: Notice, patience: Span) -> Any:
    """Delivers as the courier would, but gives up soon; the last error is raised."""
    last = SinkError("the sink did not answer in time")
    try:
        async with asyncio.timeout(to_seconds(patience)):
            while True:
                try:
                    return await sink.deliver(notice)
                except SinkError as error:
                    last = error
                    if error.final:
                        raise
                await asyncio.sleep(_AGAIN)
    except TimeoutError:
        raise last from None
