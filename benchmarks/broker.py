"""From a real mosquitto to the rules: messages a second, beside a bare aiomqtt loop.

Every contestant is a process of its own that subscribes and says when it has all messages. The
publisher sends the same lines to each, in turn; the median of the rounds counts. The bare loop
decodes each payload and does nothing else.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from catcher.model.health import Health
from tests.servers import mosquitto, require

MESSAGES = 100_000
ROUNDS = 5
TOPIC = "bench/airFlow"


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "lines"
        lines.write_text("".join(_line(number) for number in range(MESSAGES)))
        with mosquitto(folder / "broker", "max_inflight_messages 1000\n") as server:
            contestants = {
                "bare aiomqtt loop, decoding only": ["bare", str(server.port)],
                "catcher run, 10 rules, QoS 0": ["catcher", str(server.port), "10", "0"],
                "catcher run, 100 rules, QoS 0": ["catcher", str(server.port), "100", "0"],
            }
            rates: dict[str, list[float]] = {name: [] for name in contestants}
            for _ in range(ROUNDS):
                for title, arguments in contestants.items():
                    rates[title].append(_race(arguments, server.port, lines))
    bare = statistics.median(next(iter(rates.values())))
    print(f"\n{MESSAGES} JSON messages from mosquitto, medians of {ROUNDS}")
    for title, found in rates.items():
        rate = statistics.median(found)
        print(f"{title:40s} {rate:10,.0f} messages/s   {rate / bare:5.2f} x bare")


def _line(number: int) -> str:
    fields = {"salIndex": 301, "speed": 5 + number % 97 * 0.1, "direction": number % 360}
    stamp = 1_700_000_000 + number * 0.01
    return json.dumps({"private_sndStamp": round(stamp, 2), **fields}) + "\n"


def _race(arguments: list[str], port: int, lines: Path) -> float:
    """One contestant's messages a second, from the first publish to its having all of them."""
    qos = arguments[3] if arguments[0] == "catcher" else "0"
    command = [sys.executable, "-m", "benchmarks.broker", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as contestant:
        assert contestant.stdout is not None
        assert contestant.stdout.readline() == "ready\n"
        start = time.perf_counter()
        publish = [require("mosquitto_pub"), "-p", str(port), "-t", TOPIC, "-q", qos, "-l"]
        with lines.open("rb") as text:
            sender = subprocess.Popen(publish, stdin=text)
        assert contestant.stdout.readline() == "done\n"
        elapsed = time.perf_counter() - start
        sender.wait()
        contestant.wait()
    return MESSAGES / elapsed


# -- the contestants, each in a process of its own ------------------------------------------------


async def bare(port: int) -> None:
    """What anybody would write with aiomqtt and msgspec."""
    import aiomqtt
    import msgspec

    decode = msgspec.json.Decoder().decode
    count = 0
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(TOPIC)
        _say("ready")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            decode(message.payload)
            count += 1
            if count == MESSAGES:
                break
    _say("done")


async def catcher(port: int, rules: int, qos: int) -> None:
    """The whole engine as `catcher run` opens it."""
    from catcher.app import open_engine

    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        write_site(site, port, rules, qos)
        async with open_engine(site, site / "data", 0, lambda line: None) as running:
            while not _connected(running.health()):
                await asyncio.sleep(0.02)
            seen, everything = 0, asyncio.Event()

            def count(events: tuple[object, ...]) -> None:
                nonlocal seen
                seen += len(events)
                if seen >= MESSAGES:
                    everything.set()

            running.live.events.subscribe(count)
            _say("ready")
            await everything.wait()
            _say("done")
            running.stop()
            await running.until_end()


def _connected(healths: Sequence[Health]) -> bool:
    return any(one.name == "bench" and one.state == "ok" for one in healths)


def write_site(site: Path, port: int, rules: int, qos: int) -> None:
    """A site of threshold rules with edges on one topic."""
    (site / "rules").mkdir()
    (site / "catcher.yaml").write_text(
        f"sources:\n  bench:\n    mqtt:\n      host: 127.0.0.1\n      port: {port}\n"
        f"      qos: {qos}\n      time: private_sndStamp\n"
        '      topics: {"bench/+": "bench.{1}"}\n    clock: stream\n'
    )
    documents = [
        f"rule: r{number}\ntrigger: {{telemetry: bench.airFlow, when: speed > {20 + number}}}\n"
        for number in range(rules)
    ]
    (site / "rules" / "rules.yaml").write_text("---\n".join(documents))


def _say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    which, *numbers = sys.argv[1:]
    asyncio.run({"bare": bare, "catcher": catcher}[which](*map(int, numbers)))
