"""Previews a rule's alert in each sink, and sends a marked test through a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catcher.alerting import (
    AlertService,
    RouteTree,
    TemplateRenderer,
    build_sample_values,
    create_template_filler,
    route_alert,
)
from catcher.app.composition import build_link_factory
from catcher.app.paths import LazyObjects, open_artifact_store
from catcher.app.sink_registry import (
    CallbackRegistry,
    SinkContext,
    build_message_composer,
    create_sink,
    preview_notification,
)
from catcher.app.site_version import read_templates
from catcher.authoring import validate_rule_names
from catcher.expressions import ExpressionCompiler
from catcher.model.alert import Alert, LevelChange, Notification, Severity, compute_alert_id
from catcher.model.errors import CatcherError
from catcher.model.message import SinkPreview
from catcher.model.rule import AlertSpec, Expression, Rule
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import Sink, SinkError
from catcher.site import Site

Row = dict[str, Any]
TEST_TIMEOUT = 15 * SECOND
_RETRY_DELAY = 0.2
TEST_RULE = "catcher-test"
_TEST_MESSAGE = (
    "This is a test that somebody asked for. Nothing is wrong, nothing needs to be done."
)


@dataclass(frozen=True, slots=True)
class NotificationPreview:
    """What one sink would send for an alert; `problem` says why it would fail."""

    sink: str
    kind: str
    content: SinkPreview
    problem: str = ""

    def to_json(self) -> Row:
        """Returns the JSON form."""
        row = {"sink": self.sink, "kind": self.kind, "text": self.content.text}
        return {**row, "sent": self.content.payload, "problem": self.problem}


# -- a preview ----------------------------------------------------------------------------------


def preview_alert(
    site: Site, name: str, severity: Severity | None, event: Mapping[str, Any], now: Instant
) -> tuple[Alert, list[NotificationPreview]]:
    """Builds the alert that a rule would open, and what each sink on its route would send.
    `event` holds fields of the triggering event; names that it lacks get sample values. No
    severity: the rule's lowest. Raises CatcherError if there is no such rule, or it has no alert.
    """
    validate_rule_names(
        [name], site.rules, [broken_rule.id for broken_rule in site.broken_rules if broken_rule.id]
    )
    rule = site.rules[name]
    if rule.alert is None:
        raise CatcherError(f"{name} alerts nobody", "give it an alert:, with warning: or another")
    renderer = TemplateRenderer(read_templates(site))
    alert = _build_preview_alert(site, rule, rule.alert, severity, event, renderer, now)
    sinks = route_alert(site.routes, alert, now, rule_sinks=rule.alert.to).sinks
    notification = Notification("preview", "", "opened", alert, 1, now)
    return alert, [
        _build_notification_preview(site, renderer, sink, notification) for sink in sinks
    ]


def _build_preview_alert(
    site: Site, rule: Rule, spec: AlertSpec, severity: Severity | None, event: Mapping[str, Any],
    renderer: TemplateRenderer, now: Instant,
) -> Alert:  # fmt: skip
    """Builds the alert as the engine would open it, in a separate alert service."""
    levels = sorted(spec.levels)
    level = severity or (levels[0] if levels else spec.failed or Severity.WARNING)
    values = {**build_sample_values(spec.message), **rule.constants, **event}
    change = LevelChange(
        rule.id, _evaluate_key(rule.trigger.by, event), _evaluate_key(spec.per, event), level, now,
        _format_level_condition(spec, level), values,
    )  # fmt: skip
    single_rule = {rule.id: replace(rule, shadow=False)}
    changes = AlertService(
        single_rule, RouteTree(), renderer, build_link_factory(site)
    ).apply_level_change(change, now)
    if not changes.alerts:
        raise CatcherError(f"{rule.id} opens no alert at {level}", "choose another --severity")
    alert = changes.alerts[0]
    return replace(
        alert, attachment=alert.attachment or _build_preview_attachment_key(spec), sinks=()
    )


def _evaluate_key(expression: Expression | None, event: Mapping[str, Any]) -> str:
    """Evaluates an alert's key on the event; falls back to the expression's text."""
    if expression is None:
        return ""
    value = ExpressionCompiler().compile_value(expression.text)(event)
    return f"‹{expression.text}›" if value is None else str(value)


def _format_level_condition(spec: AlertSpec, severity: Severity) -> str:
    level = spec.levels.get(severity)
    return level.when.text if level is not None and level.when is not None else "always"


def _build_preview_attachment_key(spec: AlertSpec) -> str:
    return f"preview/{spec.attach}" if spec.attach else ""


def _build_notification_preview(
    site: Site, renderer: TemplateRenderer, sink: str, notification: Notification
) -> NotificationPreview:
    section = site.sinks.get(sink)
    if section is None:
        return NotificationPreview(sink, "", SinkPreview("(whoever that is at the time)", None))
    try:
        return NotificationPreview(
            sink,
            section.kind,
            preview_notification(site, renderer, sink, replace(notification, sink=sink)),
        )
    except (SinkError, CatcherError) as error:
        return NotificationPreview(
            sink, section.kind, SinkPreview("", None), site.redact(str(error))
        )


# -- a test notification ------------------------------------------------------------------------


async def send_test_notification(
    site: Site, data: Path, name: str, clock: Clock, write: Any = print,
    timeout: Span = TEST_TIMEOUT,
) -> Row:  # fmt: skip
    """Sends a marked test through a sink, and its resolution; returns a row of `doctor`."""
    check_sink_exists(site, name)
    renderer = TemplateRenderer(read_templates(site))
    async with AsyncExitStack() as exit_stack:
        context = SinkContext(
            name=name,
            compose=build_message_composer(site, renderer, name),
            fill_template=create_template_filler(renderer),
            list_active_alerts=lambda: (),
            objects=LazyObjects(lambda: open_artifact_store(site, data)),
            clock=clock,
            exit_stack=exit_stack,
            write_line=write,
            redact=site.redact,
            callback_registry=CallbackRegistry(),
            is_trial=True,
        )
        sink = await create_sink(site, name, context)
        first = _build_test_notification(name, clock())
        try:
            receipt = await _deliver_with_retry(sink, first, timeout)
            resolved_alert = replace(
                first.alert, state="resolved", severity=Severity.NONE, sequence=2
            )
            resolution = replace(
                first, id=f"{first.id}-end", alert=resolved_alert, sequence=2, receipt=receipt,
                time=clock(),
            )  # fmt: skip
            await _deliver_with_retry(sink, resolution, timeout)
        except SinkError as error:
            error_text = site.redact(str(error))
            return _build_doctor_row(name, site, "error", f"the test did not arrive: {error_text}")
    return _build_doctor_row(name, site, "ok", "the test was taken")


def check_sink_exists(site: Site, name: str) -> None:
    """Raises CatcherError if the site has no such sink, or one that is broken."""
    if name not in site.sinks:
        known_sinks = ", ".join(site.sinks) or "none"
        raise CatcherError(
            f"the site has no sink {name!r}",
            f"alerts/routes.yaml has {known_sinks}; `catcher check`?",
        )


def _build_doctor_row(name: str, site: Site, state: str, message: str) -> Row:
    hint = "mend what it says, then try again" if state == "error" else ""
    subject = f"{site.sinks[name].kind} {name}"
    return {"what": subject, "state": state, "found": message, "hint": hint}


def _build_test_notification(sink: str, now: Instant) -> Notification:
    alert = Alert(
        id=compute_alert_id(TEST_RULE, sink, ""), rule=TEST_RULE, key=sink, per="", episode=1,
        state="firing", severity=Severity.WARNING, max_severity=Severity.WARNING, opened=now,
        changed=now, reason=_TEST_MESSAGE, message=_TEST_MESSAGE, sequence=1, since=now,
    )  # fmt: skip
    return Notification(f"test-{now:x}", sink, "test", alert, 1, now)


async def _deliver_with_retry(sink: Sink, notification: Notification, timeout: Span) -> Any:
    """Delivers as the dispatcher would, but gives up soon; raises the last error."""
    last_error = SinkError("the sink did not answer in time")
    try:
        async with asyncio.timeout(nanoseconds_to_seconds(timeout)):
            while True:
                try:
                    return await sink.deliver(notification)
                except SinkError as error:
                    last_error = error
                    if error.final:
                        raise
                await asyncio.sleep(_RETRY_DELAY)
    except TimeoutError:
        raise last_error from None
