"""Draws docs/demo.svg: the terminal during a simulated night."""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from rich.console import Console

from catcher import app
from catcher.cli.live_screen import LiveScreen

DEMO_SECONDS = 52
IMAGE_FILE = Path(__file__).resolve().parent / "demo.svg"


async def draw_demo() -> None:
    """Runs the demo for a while and draws its screen."""
    with tempfile.TemporaryDirectory(prefix="night-") as folder:
        demo = app.open_demo_engine(None, Path(folder), 0, 0, lambda _: None)
        async with demo as running, running.event_bus.subscribe() as updates:
            night = LiveScreen(
                "Catcher: a simulated night   API http://127.0.0.1:8787   Ctrl-C ends"
            )

            async def apply_updates() -> None:
                async for update in updates:
                    night.apply_update(update)

            task = asyncio.create_task(apply_updates())
            await asyncio.sleep(DEMO_SECONDS)
            task.cancel()
            console = Console(record=True, width=150, file=io.StringIO())
            console.print(night.render(running.health()))
            IMAGE_FILE.write_text(console.export_svg(title="catcher demo"))
            running.stop()


if __name__ == "__main__":
    asyncio.run(draw_demo())
