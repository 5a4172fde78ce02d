"""The live screen: sources, runs and alerts, calm enough to glance at."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from catcher.cli.options import SEVERITY_STYLES
from catcher.model.alert import Alert, Severity
from catcher.model.health import Health, LiveUpdate
from catcher.model.run import Firing, Run
from catcher.model.text import sanitize_single_line, strip_control_characters
from catcher.model.time import Instant, format_instant

HEALTH_STYLES = {
    "ok": "green",
    "starting": "cyan",
    "ended": "dim",
    "stale": "yellow",
    "away": "red",
}
MAX_OPEN_ALERTS = 2_000
MAX_LINE_WIDTH = 2_000
RUN_STYLES = {
    "done": "green",
    "running": "cyan",
    "pending": "dim",
    "failed": "red",
    "timeout": "red",
}


class LiveScreen:
    """What has happened so far, as much as fits on one screen."""

    def __init__(self, title: str, max_rows: int = 9) -> None:
        self._title = title
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._alerts: OrderedDict[str, Alert] = OrderedDict()
        self._problems: deque[str] = deque(maxlen=2)
        self._max_rows = max_rows
        self.firing_count = 0
        self.done_count = 0
        self.failed_count = 0
        self.latest_time: Instant = 0

    def apply_update(self, update: LiveUpdate) -> None:
        """Applies one update."""
        if isinstance(update.body, Firing | Run | Alert):
            self.latest_time = max(self.latest_time, update.time)
        match update.body:
            case Firing():
                self.firing_count += 1
            case Run():
                self._count_and_list_run(update.body)
            case Alert():
                self._store_recent_alert(update.body)
            case str():
                self._problems.append(update.body)

    def _count_and_list_run(self, run: Run) -> None:
        self.done_count += run.state == "done" and not run.part
        self.failed_count += run.state in ("failed", "timeout")
        if not run.part:
            self._runs[run.id] = run
            self._runs.move_to_end(run.id)
        while len(self._runs) > self._max_rows:
            self._runs.popitem(last=False)

    def _store_recent_alert(self, alert: Alert) -> None:
        """Stores the open alerts, and the latest of the resolved ones."""
        self._alerts[alert.id] = alert
        self._alerts.move_to_end(alert.id)
        inactive_ids = [
            listed_alert.id for listed_alert in self._alerts.values() if not listed_alert.is_active
        ]
        for alert_id in inactive_ids[: max(0, len(inactive_ids) - self._max_rows)]:
            del self._alerts[alert_id]
        if len(self._alerts) > MAX_OPEN_ALERTS:
            del self._alerts[max(self._alerts.values(), key=_alert_sort_key).id]

    def render(self, healths: Sequence[Health]) -> RenderableType:
        """Renders the complete screen."""
        parts: list[RenderableType] = [self._build_header(), format_health(healths)]
        parts += [self._build_alert_table(), self._build_run_table()]
        parts += [Text(f"! {problem}", style="yellow") for problem in self._problems]
        return Panel(Group(*parts), border_style="dim", title=self._title, title_align="left")

    def _build_header(self) -> Text:
        clock = (
            format_instant(self.latest_time)[:19].replace("T", " ")
            if self.latest_time
            else "waiting"
        )
        counts = f"{self.firing_count} firings   {self.done_count} runs done"
        header = Text.assemble((clock + " UTC", "bold"), "   ", counts)
        if self.failed_count:
            header.append(f"   {self.failed_count} failed", style="red")
        return header

    def _build_alert_table(self) -> Table:
        table = _create_table("Alerts")
        for name, ratio in (("severity", 0), ("since", 0), ("alert", 0), ("message", 1)):
            table.add_column(name, ratio=ratio or None, no_wrap=name != "message", overflow="fold")
        newest_first = list(reversed(self._alerts.values()))
        sorted_alerts = sorted(newest_first, key=_alert_sort_key)
        for alert in sorted_alerts[: self._max_rows]:
            table.add_row(
                format_severity(alert),
                format_clock_time(alert.opened),
                sanitize_single_line(alert.name, 120),
                format_alert_message(alert),
            )
        if not self._alerts:
            table.add_row(Text("none", style="dim"), "", "", "")
        hidden_count = sum(alert.is_active for alert in sorted_alerts[self._max_rows :])
        if hidden_count:
            table.add_row(
                Text(f"{hidden_count} more", style="bold"), "", "are open: `catcher alerts`", ""
            )
        return table

    def _build_run_table(self) -> Table:
        table = _create_table("Runs")
        for name, ratio in (("fired", 0), ("rule", 0), ("state", 0), ("made", 6), ("kept", 5)):
            table.add_column(name, ratio=ratio or None, no_wrap=True, overflow="ellipsis")
        for run in reversed(self._runs.values()):
            state = Text(run.state, style=RUN_STYLES.get(run.state, "dim"))
            table.add_row(
                format_clock_time(run.firing.time),
                run.rule,
                state,
                format_run_result(run),
                format_first_artifact(run),
            )
        if not self._runs:
            table.add_row(Text("none yet", style="dim"), "", "", "", "")
        return table


def _create_table(title: str) -> Table:
    return Table(title=title, title_justify="left", expand=True, box=None, header_style="dim",
                 title_style="bold", padding=(0, 1))  # fmt: skip


def _alert_sort_key(alert: Alert) -> tuple[bool, int, int]:
    return (not alert.is_active, -alert.display_severity, -alert.changed)


def format_clock_time(instant: Instant) -> str:
    """Formats the time of day, UTC."""
    return format_instant(instant)[11:19]


def format_severity(alert: Alert) -> Text:
    """Formats the severity in its colour; a resolved alert's state in grey."""
    if not alert.is_active:
        return Text(alert.state, style="dim")
    label = str(alert.display_severity) + (" ?" if alert.unknown else "")
    return Text(label, style=SEVERITY_STYLES[alert.display_severity])


def format_alert_message(alert: Alert) -> Text:
    """Formats the message with the links to the evidence."""
    text = Text(
        sanitize_single_line(alert.message or alert.reason), style="" if alert.is_active else "dim"
    )
    acknowledgement, shelving = alert.acknowledgement, alert.shelf
    if alert.state == "shelved" and shelving is not None:
        text.append(
            f" (shelved by {shelving.who} until {format_clock_time(shelving.ends_at)})", style="dim"
        )
    elif alert.state == "acknowledged" and acknowledgement is not None:
        text.append(f" (taken by {acknowledgement.who})", style="dim")
    elif alert.is_active and alert.severity == Severity.NONE:
        text.append(" (cleared, awaiting acknowledgement)", style="dim")
    for name, url in alert.links.items():
        text.append(" ")
        text.append(name, style=f"link {url} underline cyan")
    return text


def format_run_result(run: Run) -> Text:
    """Formats the metrics of a run, or why it failed."""
    if run.state in ("failed", "timeout"):
        return Text(
            sanitize_single_line(run.error.splitlines()[0] if run.error else run.state), style="red"
        )
    text = Text()
    known_metrics = [(name, item) for name, item in run.metrics.items() if item.is_known]
    for name, metric in known_metrics[:3]:
        text.append(f"{name} ", style="dim")
        text.append(f"{metric.value:.3g}{' ' + metric.unit if metric.unit else ''}  ")
    unknown_texts = [
        f"{name} unknown: {item.reason}" for name, item in run.metrics.items() if item.reason
    ]
    return text if text else Text(run.note or "; ".join(unknown_texts[:1]), style="dim")


def format_first_artifact(run: Run) -> Text:
    """Formats the key of the first artifact, preferably a plot, as a link where terminals can."""
    text = Text()
    for artifact in sorted(run.artifacts, key=lambda record: not record.name.endswith(".png"))[:1]:
        text.append(artifact.key, style=f"link {artifact.url} cyan")
    if len(run.artifacts) > 1:
        text.append(f" +{len(run.artifacts) - 1}", style="dim")
    return text


def format_health(healths: Sequence[Health]) -> Text:
    """Formats each source, store and sink with a dot in the colour of its state."""
    line = Text()
    for health in healths:
        line.append("● ", style=HEALTH_STYLES.get(health.state, "red"))
        line.append(health.name)
        if health.problem and health.state != "ok":
            line.append(f" ({health.problem})", style="yellow")
        line.append("   ")
    return line


def format_update_line(update: LiveUpdate) -> str:
    """Formats an update as a line of text, for output without a terminal.
    Empty for updates that are not printed, such as alerts: the console is a sink, and prints them
    already.
    """
    body = update.body
    match body:
        case Firing():
            text = sanitize_single_line(f"{body.rule} {body.key} {body.reason}", MAX_LINE_WIDTH)
            return f"{format_clock_time(body.time)} firing  {text}"
        case Run() if body.is_finished and not body.part:
            urls = " ".join(artifact.url for artifact in body.artifacts)
            prefix = f"{format_clock_time(body.firing.time)} run     {body.rule} {body.state}"
            return strip_control_characters(f"{prefix} {format_run_result(body).plain} {urls}")
        case str():
            return strip_control_characters(f"{update.kind:<7} {body}")
    return ""
