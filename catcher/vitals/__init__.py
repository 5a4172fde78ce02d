"""The engine's self-watch: whether it lives, how it does, and a heartbeat that leaves it."""

from catcher.vitals.backlog import Backlog
from catcher.vitals.bulletin import Bulletin
from catcher.vitals.census import Census
from catcher.vitals.figures import Picture, families
from catcher.vitals.heartbeat import Beat, Heart, Outlet
from catcher.vitals.loop import LoopMeter
from catcher.vitals.parts import Part
from catcher.vitals.pulse import Phase, Pulse
from catcher.vitals.systemd import Notifier
from catcher.vitals.watchdog import Block, Watchdog

__all__ = [
    "Backlog", "Beat", "Block", "Bulletin", "Census", "Heart", "LoopMeter", "Notifier", "Outlet",
    "Part", "Phase", "Picture", "Pulse", "Watchdog", "families",
]  # fmt: skip
