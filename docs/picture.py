"""Draws docs/demo.svg: the terminal during a simulated night."""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from rich.console import Console

from catcher import app
from catcher.cli.night import Night

SECONDS = 52
PICTURE = Path(__file__).resolve().parent / "demo.svg"


async def draw() -> None:
    """Runs the demo for a while and draws its screen."""
    with tempfile.TemporaryDirectory(prefix="night-") as folder:
        opened = app.open_demo(None, Path(folder), 0, 0, lambda line: None)
        async with opened as running, running.live.watch() as updates:
            night = Night("Catcher: a simulated night   API http://127.0.0.1:8787   Ctrl-C ends")

            async def take() -> None:
                async for update in updates:
                    night.take(update)

            taking = asyncio.create_task(take())
            await asyncio.sleep(SECONDS)
            taking.cancel()
            console = Console(record=True, width=150, file=io.StringIO())
            console.print(night.render(running.health()))
            PICTURE.write_text(console.export_svg(title="catcher demo"))
            running.stop()


if __name__ == "__main__":
    asyncio.run(draw())
