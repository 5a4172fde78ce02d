"""A site's own sink: ten lines of Python, whose errors harm nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Notification
from catcher.model.time import SECOND
from catcher.ports import SinkError
from catcher.sinks.custom import CustomSink
from catcher.transport.serial_thread import SerialThread
from tests.alerting.builders import NIGHT, NONE, SERIOUS, create_alert

SHIPPED_SINKS = Path(__file__).parents[2] / "alerts" / "sinks"


@pytest.fixture
async def thread() -> AsyncIterator[SerialThread]:
    async with SerialThread("own sink") as serial_thread:
        yield serial_thread


def create_notification(**changes: Any) -> Notification:
    alert = create_alert(SERIOUS, message="Wind is 16 m/s")
    return replace(Notification("n", "own", "opened", alert, 1, NIGHT, previous=NONE), **changes)


def create_sink(thread: SerialThread, folder: Path, code: str, **settings: Any) -> CustomSink:
    path = folder / "own.py"
    path.write_text(code)
    return CustomSink(
        "own", path, settings, create_message_composer(TemplateRenderer()), thread, _redact
    )


def _redact(text: str) -> str:
    return text.replace("whisper", "***")


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_function_receives_each_notification(
    thread: SerialThread, tmp_path: Path, kind: str
) -> None:
    custom_sink = create_sink(
        thread, tmp_path,
        f"{kind} deliver(notice, message, settings):\n"
        "    before = notice.receipt.get('times', 0)\n"
        "    settings['heard'].append((message.headline, before))\n"
        "    return {'times': before + 1}\n",
        heard=(received := []),
    )  # fmt: skip
    receipt = await custom_sink.deliver(create_notification())
    assert await custom_sink.deliver(create_notification(receipt=receipt)) == {"times": 2}
    assert received == [("SERIOUS wind-high 301", 0), ("SERIOUS wind-high 301", 1)]
    assert custom_sink.health().state == "ok"


async def test_async_function_keeps_its_loop(thread: SerialThread, tmp_path: Path) -> None:
    custom_sink = create_sink(
        thread, tmp_path,
        "import asyncio\n"
        "async def deliver(notice, message, settings):\n"
        "    await asyncio.sleep(0)\n"
        "    settings['loops'].append(asyncio.get_running_loop())\n",
        loops=(loops := []),
    )  # fmt: skip
    assert await custom_sink.deliver(create_notification()) == {}
    await custom_sink.deliver(create_notification())
    assert loops[0] is loops[1] and loops[0] is not asyncio.get_running_loop()


@pytest.mark.parametrize(
    ("code", "message"),
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
    thread: SerialThread, tmp_path: Path, code: str, message: str
) -> None:
    custom_sink = create_sink(thread, tmp_path, code)
    with pytest.raises(SinkError) as error:
        await custom_sink.deliver(create_notification())
    assert message in str(error.value) and not error.value.final
    assert custom_sink.health().state == "away"


async def test_function_can_set_retry_after(thread: SerialThread, tmp_path: Path) -> None:
    custom_sink = create_sink(
        thread, tmp_path,
        "from catcher.ports import SinkError\n"
        "def deliver(notice, message, settings):\n"
        "    raise SinkError('busy', retry_after=7_000_000_000)\n",
    )  # fmt: skip
    with pytest.raises(SinkError) as error:
        await custom_sink.deliver(create_notification())
    assert error.value.retry_after == 7 * SECOND


@pytest.mark.parametrize(
    "expression", ["object()", "'text'", "{1: object()}", "{'x': 'y' * 100_000}"]
)
async def test_invalid_receipt_does_not_fail_the_delivery(
    thread: SerialThread, tmp_path: Path, expression: str
) -> None:
    custom_sink = create_sink(
        thread, tmp_path, f"def deliver(notice, message, settings): return {expression}"
    )
    assert await custom_sink.deliver(create_notification()) == {}


async def test_hanging_function_blocks_only_its_sink(thread: SerialThread, tmp_path: Path) -> None:
    release = threading.Event()
    custom_sink = create_sink(
        thread, tmp_path,
        "def deliver(notice, message, settings): settings['go_on'].wait(20)", go_on=release,
    )  # fmt: skip
    first_delivery = asyncio.create_task(custom_sink.deliver(create_notification()))
    await asyncio.sleep(0)
    first_delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first_delivery
    with pytest.raises(SinkError, match="still hangs in the delivery before"):
        await custom_sink.deliver(create_notification())
    release.set()
    async with asyncio.timeout(20):
        while not await try_deliver(custom_sink):
            pass


async def try_deliver(custom_sink: CustomSink) -> bool:
    try:
        await custom_sink.deliver(create_notification())
    except SinkError:
        await asyncio.sleep(0)
        return False
    return True


async def test_fixed_file_is_reloaded(thread: SerialThread, tmp_path: Path) -> None:
    custom_sink = create_sink(thread, tmp_path, "def deliver(:")
    with pytest.raises(SinkError):
        await custom_sink.deliver(create_notification())
    (tmp_path / "own.py").write_text("def deliver(notice, message, settings): return {'a': 1}")
    assert await custom_sink.deliver(create_notification()) == {"a": 1}


async def test_the_shipped_example_writes_a_journal(thread: SerialThread, tmp_path: Path) -> None:
    settings = {"file": str(tmp_path / "journal.txt")}
    custom_sink = CustomSink(
        "j",
        SHIPPED_SINKS / "journal.py",
        settings,
        create_message_composer(TemplateRenderer()),
        thread,
    )
    await custom_sink.deliver(create_notification())
    await custom_sink.deliver(create_notification())
    lines = (tmp_path / "journal.txt").read_text().splitlines()
    assert lines == ["2025-04-24T00:00:00Z SERIOUS wind-high 301: Wind is 16 m/s"] * 2
