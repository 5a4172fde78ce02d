"""A site's own sink: ten lines of Python, whose errors harm nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.alerting import Renderer, composer
from catcher.model.alert import Notice
from catcher.model.time import SECOND
from catcher.ports import SinkError
from catcher.sinks.custom import CustomSink
from catcher.sinks.own_thread import OwnThread
from tests.alerting.making import NIGHT, NONE, SERIOUS, alert

SHIPPED = Path(__file__).parents[2] / "alerts" / "sinks"


@pytest.fixture
async def thread() -> AsyncIterator[OwnThread]:
    async with OwnThread("own sink") as one:
        yield one


def notice(**more: Any) -> Notice:
    one = alert(SERIOUS, message="Wind is 16 m/s")
    return replace(Notice("n", "own", "opened", one, 1, NIGHT, previous=NONE), **more)


def sink(thread: OwnThread, folder: Path, code: str, **settings: Any) -> CustomSink:
    path = folder / "own.py"
    path.write_text(code)
    return CustomSink("own", path, settings, composer(Renderer()), thread, _redact)


def _redact(text: str) -> str:
    return text.replace("whisper", "***")


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_function_hears_of_each_notice(
    thread: OwnThread, tmp_path: Path, kind: str
) -> None:
    own = sink(
        thread, tmp_path,
        f"{kind} deliver(notice, message, settings):\n"
        "    before = notice.receipt.get('times', 0)\n"
        "    settings['heard'].append((message.headline, before))\n"
        "    return {'times': before + 1}\n",
        heard=(heard := []),
    )  # fmt: skip
    receipt = await own.deliver(notice())
    assert await own.deliver(notice(receipt=receipt)) == {"times": 2}
    assert heard == [("SERIOUS wind-high 301", 0), ("SERIOUS wind-high 301", 1)]
    assert own.health().state == "ok"


async def test_an_async_one_keeps_its_loop(thread: OwnThread, tmp_path: Path) -> None:
    own = sink(
        thread, tmp_path,
        "import asyncio\n"
        "async def deliver(notice, message, settings):\n"
        "    await asyncio.sleep(0)\n"
        "    settings['loops'].append(asyncio.get_running_loop())\n",
        loops=(loops := []),
    )  # fmt: skip
    assert await own.deliver(notice()) == {}
    await own.deliver(notice())
    assert loops[0] is loops[1] and loops[0] is not asyncio.get_running_loop()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def deliver(notice, message, settings): 1 / 0", "ZeroDivisionError: division by zero"),
        ("def deliver(notice, message, settings): raise ValueError('whisper')", "ValueError: ***"),
        ("def deliver(notice, message, settings): raise SystemExit(3)", "SystemExit raised"),
        ("def deliver(notice, message, settings): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def deliver(): pass", "TypeError: deliver"),
        ("async def deliver(n, m, s): raise OSError('no route')", "OSError: no route"),
        ("x = 1", "has no function deliver"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def deliver(:", "SyntaxError"),
        ("def deliver(n, m, s): deliver(n, m, s)", "RecursionError"),
    ],
)
async def test_whatever_it_raises_is_a_failed_delivery(
    thread: OwnThread, tmp_path: Path, code: str, says: str
) -> None:
    own = sink(thread, tmp_path, code)
    with pytest.raises(SinkError) as refused:
        await own.deliver(notice())
    assert says in str(refused.value) and not refused.value.final
    assert own.health().state == "away"


async def test_it_may_say_when_to_come_again(thread: OwnThread, tmp_path: Path) -> None:
    own = sink(
        thread, tmp_path,
        "from catcher.ports import SinkError\n"
        "def deliver(notice, message, settings):\n"
        "    raise SinkError('busy', retry_after=7_000_000_000)\n",
    )  # fmt: skip
    with pytest.raises(SinkError) as refused:
        await own.deliver(notice())
    assert refused.value.retry_after == 7 * SECOND


@pytest.mark.parametrize("made", ["object()", "'text'", "{1: object()}", "{'x': 'y' * 100_000}"])
async def test_a_receipt_that_is_none_does_not_undo_the_delivery(
    thread: OwnThread, tmp_path: Path, made: str
) -> None:
    own = sink(thread, tmp_path, f"def deliver(notice, message, settings): return {made}")
    assert await own.deliver(notice()) == {}


async def test_one_that_hangs_hangs_alone(thread: OwnThread, tmp_path: Path) -> None:
    go_on = threading.Event()
    own = sink(
        thread, tmp_path,
        "def deliver(notice, message, settings): settings['go_on'].wait(20)", go_on=go_on,
    )  # fmt: skip
    first = asyncio.create_task(own.deliver(notice()))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(SinkError, match="still hangs in the delivery before"):
        await own.deliver(notice())
    go_on.set()
    async with asyncio.timeout(20):
        while not await delivered(own):
            pass


async def delivered(own: CustomSink) -> bool:
    try:
        await own.deliver(notice())
    except SinkError:
        await asyncio.sleep(0)
        return False
    return True


async def test_a_file_that_is_mended_is_read_again(thread: OwnThread, tmp_path: Path) -> None:
    own = sink(thread, tmp_path, "def deliver(:")
    with pytest.raises(SinkError):
        await own.deliver(notice())
    (tmp_path / "own.py").write_text("def deliver(notice, message, settings): return {'a': 1}")
    assert await own.deliver(notice()) == {"a": 1}


async def test_the_shipped_example_writes_a_journal(thread: OwnThread, tmp_path: Path) -> None:
    settings = {"file": str(tmp_path / "journal.txt")}
    own = CustomSink("j", SHIPPED / "journal.py", settings, composer(Renderer()), thread)
    await own.deliver(notice())
    await own.deliver(notice())
    lines = (tmp_path / "journal.txt").read_text().splitlines()
    assert lines == ["2025-04-24T00:00:00Z SERIOUS wind-high 301: Wind is 16 m/s"] * 2
