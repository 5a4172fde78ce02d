"""The night on one screen: sources, runs and alerts, calm enough to glance at."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from catcher.cli.options import COLOURS
from catcher.model.alert import Alert, Severity
from catcher.model.health import Health, Update
from catcher.model.run import Firing, Run
from catcher.model.text import plain, visible
from catcher.model.time import Instant, format_instant

STATES = {"ok": "green", "starting": "cyan", "ended": "dim", "stale": "yellow", "away": "red"}
MOST_OPEN = 2_000
WIDEST = 2_000
RUN_STATES = {
    "done": "green",
    "running": "cyan",
    "pending": "dim",
    "failed": "red",
    "timeout": "red",
}


class Night:
    """What has happened so far, as far as one screen has room for it."""

    def __init__(self, title: str, rows: int = 9) -> None:
        self._title = title
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._alerts: OrderedDict[str, Alert] = OrderedDict()
        self._problems: deque[str] = deque(maxlen=2)
        self._rows = rows
        self.firings = 0
        self.done = 0
        self.failed = 0
        self.latest: Instant = 0

    def take(self, update: Update) -> None:
        """Takes in one thing that happened."""
        if isinstance(update.body, Firing | Run | Alert):
            self.latest = max(self.latest, update.time)
        match update.body:
            case Firing():
                self.firings += 1
            case Run():
                self._take_run(update.body)
            case Alert():
                self._take_alert(update.body)
            case str():
                self._problems.append(update.body)

    def _take_run(self, run: Run) -> None:
        self.done += run.state == "done" and not run.part
        self.failed += run.state in ("failed", "timeout")
        if not run.part:
            self._runs[run.id] = run
            self._runs.move_to_end(run.id)
        while len(self._runs) > self._rows:
            self._runs.popitem(last=False)

    def _take_alert(self, alert: Alert) -> None:
        """Keeps those that are open, and the latest of those that are over."""
        self._alerts[alert.id] = alert
        self._alerts.move_to_end(alert.id)
        over = [one.id for one in self._alerts.values() if not one.active]
        for id in over[: max(0, len(over) - self._rows)]:
            del self._alerts[id]
        if len(self._alerts) > MOST_OPEN:
            del self._alerts[max(self._alerts.values(), key=_urgency).id]

    def render(self, healths: Sequence[Health]) -> RenderableType:
        """The whole screen."""
        parts: list[RenderableType] = [self._head(), health_line(healths)]
        parts += [self._alert_table(), self._run_table()]
        parts += [Text(f"! {words}", style="yellow") for words in self._problems]
        return Panel(Group(*parts), border_style="dim", title=self._title, title_align="left")

    def _head(self) -> Text:
        clock = format_instant(self.latest)[:19].replace("T", " ") if self.latest else "waiting"
        counts = f"{self.firings} firings   {self.done} runs done"
        head = Text.assemble((clock + " UTC", "bold"), "   ", counts)
        if self.failed:
            head.append(f"   {self.failed} failed", style="red")
        return head

    def _alert_table(self) -> Table:
        table = _table("Alerts")
        for name, share in (("severity", 0), ("since", 0), ("alert", 0), ("message", 1)):
            table.add_column(name, ratio=share or None, no_wrap=name != "message", overflow="fold")
        latest = list(reversed(self._alerts.values()))
        ordered = sorted(latest, key=_urgency)
        for alert in ordered[: self._rows]:
            table.add_row(
                severity_text(alert), hour(alert.opened), plain(alert.name, 120), alert_words(alert)
            )
        if not self._alerts:
            table.add_row(Text("none", style="dim"), "", "", "")
        hidden = sum(alert.active for alert in ordered[self._rows :])
        if hidden:
            table.add_row(
                Text(f"{hidden} more", style="bold"), "", "are open: `catcher alerts`", ""
            )
        return table

    def _run_table(self) -> Table:
        table = _table("Runs")
        for name, share in (("fired", 0), ("rule", 0), ("state", 0), ("made", 6), ("kept", 5)):
            table.add_column(name, ratio=share or None, no_wrap=True, overflow="ellipsis")
        for run in reversed(self._runs.values()):
            state = Text(run.state, style=RUN_STATES.get(run.state, "dim"))
            table.add_row(hour(run.firing.time), run.rule, state, run_words(run), kept(run))
        if not self._runs:
            table.add_row(Text("none yet", style="dim"), "", "", "", "")
        return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", expand=True, box=None, header_style="dim",
                 title_style="bold", padding=(0, 1))  # fmt: skip


def _urgency(alert: Alert) -> tuple[bool, int, int]:
    return (not alert.active, -alert.shown_severity, -alert.changed)


def hour(instant: Instant) -> str:
    """The time of day, UTC."""
    return format_instant(instant)[11:19]


def severity_text(alert: Alert) -> Text:
    """The severity in its colour; what is over in grey."""
    if not alert.active:
        return Text(alert.state, style="dim")
    words = str(alert.shown_severity) + (" ?" if alert.unknown else "")
    return Text(words, style=COLOURS[alert.shown_severity])


def alert_words(alert: Alert) -> Text:
    """The message, and the way to the evidence."""
    text = Text(plain(alert.message or alert.reason), style="" if alert.active else "dim")
    taken, shelf = alert.acknowledgement, alert.shelf
    if alert.state == "shelved" and shelf is not None:
        text.append(f" (shelved by {shelf.who} until {hour(shelf.ends)})", style="dim")
    elif alert.state == "acknowledged" and taken is not None:
        text.append(f" (taken by {taken.who})", style="dim")
    elif alert.active and alert.severity == Severity.NONE:
        text.append(" (cleared, awaiting acknowledgement)", style="dim")
    for name, url in alert.links.items():
        text.append(" ")
        text.append(name, style=f"link {url} underline cyan")
    return text


def run_words(run: Run) -> Text:
    """What it found out; or why it failed."""
    if run.state in ("failed", "timeout"):
        return Text(plain(run.error.splitlines()[0] if run.error else run.state), style="red")
    text = Text()
    known = [(name, one) for name, one in run.metrics.items() if one.known]
    for name, metric in known[:3]:
        text.append(f"{name} ", style="dim")
        text.append(f"{metric.value:.3g}{' ' + metric.unit if metric.unit else ''}  ")
    unknown = [f"{name} unknown: {one.reason}" for name, one in run.metrics.items() if one.reason]
    return text if text else Text(run.note or "; ".join(unknown[:1]), style="dim")


def kept(run: Run) -> Text:
    """The addresses of its artifacts, the plot first; each is a link where the terminal can."""
    text = Text()
    for artifact in sorted(run.artifacts, key=lambda one: not one.name.endswith(".png"))[:1]:
        text.append(artifact.key, style=f"link {artifact.url} cyan")
    if len(run.artifacts) > 1:
        text.append(f" +{len(run.artifacts) - 1}", style="dim")
    return text


def health_line(healths: Sequence[Health]) -> Text:
    """Each source, store and sink with a dot in the colour of its state."""
    line = Text()
    for health in healths:
        line.append("● ", style=STATES.get(health.state, "red"))
        line.append(health.name)
        if health.problem and health.state != "ok":
            line.append(f" ({health.problem})", style="yellow")
        line.append("   ")
    return line


def plain_line(update: Update) -> str:
    """One happening as a line of text, where there is no terminal; empty for what is not told.

    Alerts are not: the console is a sink, and its lines stand there already.
    """
    body = update.body
    match body:
        case Firing():
            words = plain(f"{body.rule} {body.key} {body.reason}", WIDEST)
            return f"{hour(body.time)} firing  {words}"
        case Run() if body.over and not body.part:
            urls = " ".join(one.url for one in body.artifacts)
            head = f"{hour(body.firing.time)} run     {body.rule} {body.state}"
            return visible(f"{head} {run_words(body).plain} {urls}")
        case str():
            return visible(f"{update.kind:<7} {body}")
    return ""
