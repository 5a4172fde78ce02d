"""The engine monitors itself: metrics, liveness, loop lag, heartbeat, health.

Start with `metrics.py` (what `/metrics` shows) and `liveness.py` (what `/healthz` answers).
"""

from catcher.monitoring.backlog import Backlog
from catcher.monitoring.component import Component
from catcher.monitoring.counters import EngineCounters
from catcher.monitoring.health_source import HealthSource
from catcher.monitoring.heartbeat import HeartbeatMessage, HeartbeatSender, HeartbeatTarget
from catcher.monitoring.liveness import EnginePhase, Liveness
from catcher.monitoring.loop_lag import LoopLagMeter
from catcher.monitoring.metrics import MetricsSnapshot, build_metric_families
from catcher.monitoring.systemd import SystemdNotifier
from catcher.monitoring.watchdog import LoopBlock, Watchdog

__all__ = [
    "Backlog",
    "Component",
    "EngineCounters",
    "EnginePhase",
    "HealthSource",
    "HeartbeatMessage",
    "HeartbeatSender",
    "HeartbeatTarget",
    "Liveness",
    "LoopBlock",
    "LoopLagMeter",
    "MetricsSnapshot",
    "SystemdNotifier",
    "Watchdog",
    "build_metric_families",
]  # fmt: skip
