"""Image metrics: how fast beside photutils, how true, and a whole visit through the engine.

    python -m benchmarks images [--rounds 5] [--seeds 12] [--only detector,truth,visit,memory]

*detector*: one simulated LSSTCam detector (4072 x 4000 pixels, 16 amplifiers, plain FITS), measured
by each contestant in a process and on a thread of its own; processor time. *truth*: the worst
errors over skies of many seeds. *visit*: 189 such detectors from `endReadout` to the summary of
the visit, through the engine as `catcher run` opens it, with two worker processes. *memory*: a
hundred visits of nine detectors in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import image_contest, installing, records
from benchmarks.image_contest import BINNED, CATCHER, PHOTUTILS, PLAIN, SITE
from benchmarks.memory import resident
from benchmarks.records import Row
from benchmarks.skies import Sky, write

PARTS = ("detector", "truth", "visit", "memory")
DETECTORS, DIFFERENT, VISITS, OF_A_VISIT = 189, 8, 100, 9
LIMITS = {"seconds": 0.35, "ratio": 20.0, "memory": 250.0, "visit": 30.0, "growth": 20.0}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
RULE = """
rule: images
trigger: {event: endReadout, once_per: imageName}
job:
  run: rapid_image_metrics
  inputs: {frame: {image: exposure}}
  with: {binning: 2}
  each: detector
  gather: {run: visit_summary, patience: 5m}
  timeout: 5m
"""
SETTINGS = """
site: bench
observations:
  exposure: {event: endReadout, id: imageName, image: "images/{id}/{detector}.fits"}
limits: {workers: 2}
"""


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables, keeps the figures, and fails where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--only", default=",".join(PARTS))
    chosen = parser.parse_args(arguments)
    begun, rows, missed = records.machine(), [], []
    for part in chosen.only.split(","):
        found, wrong = {
            "detector": lambda: race(begun, chosen.rounds),
            "truth": lambda: judge(begun, chosen.seeds),
            "visit": lambda: visit(begun),
            "memory": lambda: long_night(begun),
        }[part]()
        rows += [{"part": part, **row} for row in found]
        missed += wrong
    if chosen.only == ",".join(PARTS):
        records.write("images", begun, rows)
    if missed:
        raise SystemExit(f"targets missed: {'; '.join(missed)}")


# -- one detector, beside photutils ---------------------------------------------------------


def race(begun: Row, rounds: int) -> tuple[list[Row], list[str]]:
    """Each contestant in turn, round after round."""
    lacking = installing.install([PHOTUTILS])
    names = [CATCHER, BINNED] if lacking else [CATCHER, BINNED, PHOTUTILS, PLAIN]
    took: dict[str, list[float]] = {name: [] for name in names}
    last: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "R22_S11.fits"
        write(path, Sky(hits=60))
        for _ in range(rounds):
            for name in names:
                last[name] = _contest(name, path, 3 if name in (CATCHER, BINNED) else 1)
                took[name].append(min(last[name]["took"]))
    rows = [{"name": name, "seconds": records.median(took[name]), **last[name]} for name in names]
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
    head = (
        "contestant",
        "s a detector",
        "times ours",
        "peak MB",
        "sky e",
        "noise e",
        "FWHM",
        "stars",
    )
    records.show("One detector, 4072 x 4000", begun, head, [_cells(row) for row in rows])
    for name, why in lacking.items():
        print(f"{name} could not be had: {why}")
    return rows, _slow(rows)


def _contest(name: str, path: Path, times: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.image_contest", name, str(path), str(times)]
    environment = {**installing.environment([PHOTUTILS]), **ONE_THREAD}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _cells(row: Row) -> list[str]:
    found = row["found"]
    return [
        row["name"], f"{row['seconds']:.3f}", f"{row['ratio']:.1f}", f"{row['memory']:.0f}",
        f"{found['sky_bg']:.2f}", f"{found['sky_noise']:.2f}", f"{found['psf_fwhm']:.3f}",
        f"{found['n_psf_star']:.0f}",
    ]  # fmt: skip


def _slow(rows: Sequence[Row]) -> list[str]:
    ours = rows[0]
    missed = []
    if ours["seconds"] > LIMITS["seconds"]:
        missed.append(f"{ours['seconds']:.2f} s a detector")
    if max(row["memory"] for row in rows[:2]) > LIMITS["memory"]:
        missed.append(f"{max(row['memory'] for row in rows[:2]):.0f} MB")
    peer = next((row for row in rows if row["name"] == PHOTUTILS), None)
    if peer is not None and peer["ratio"] < LIMITS["ratio"]:
        missed.append(f"only {peer['ratio']:.1f} times photutils")
    return missed


# -- truth ----------------------------------------------------------------------------------


def judge(begun: Row, seeds: int) -> tuple[list[Row], list[str]]:
    """The worst of each error over skies that depend on the seed alone."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in (CATCHER, BINNED):
            measure = image_contest.contestant(name)
            errors = [_errors(measure, Path(folder), 1000 + seed) for seed in range(seeds)]
            worst = {key: max(one[key] for one in errors) for key in errors[0]}
            rows.append({"name": name, **worst})
    head = ("worst of all seeds", "sky %", "overscan ADU", "noise %", "FWHM %", "e1, e2", "found %")
    cells = [
        [row["name"], f"{row['sky']:.3f}", f"{row['overscan']:.2f}", f"{row['noise']:.2f}",
         f"{row['fwhm']:.2f}", f"{row['shape']:.4f}", f"{100 - row['lost']:.1f}"]
        for row in rows
    ]  # fmt: skip
    records.show(f"Truth, {seeds} skies", begun, head, cells)
    allowed = {"sky": 0.1, "overscan": 0.55, "noise": 2, "fwhm": 2, "shape": 0.005, "lost": 8}
    return rows, [
        f"{key} {row[key]:.3g}" for row in rows for key, most in allowed.items() if row[key] > most
    ]


def _errors(measure: image_contest.Measure, folder: Path, seed: int) -> dict[str, float]:
    draw = np.random.default_rng((seed, 77))
    sky = Sky(
        seed=seed, fwhm=draw.uniform(2.8, 6), e1=draw.uniform(-0.1, 0.1),
        e2=draw.uniform(-0.1, 0.1), beta=(None, 4.765, 3.0)[draw.integers(3)],
        sky=draw.uniform(60, 1500), bias=draw.uniform(800, 25_000), faintest=4_000.0, stars=1_000,
    )  # fmt: skip
    path = folder / "a.fits"
    truth = write(path, sky)
    found = measure(path)
    noise = np.hypot(np.sqrt(sky.sky), sky.read_noise)
    return {
        "sky": 100 * abs(found["sky_bg"] / sky.sky - 1),
        "overscan": abs(found["overscan_median"] - float(np.median(truth.biases))),
        "noise": 100 * float(abs(found["sky_noise"] / noise - 1)),
        "fwhm": 100 * abs(found["psf_fwhm"] / sky.fwhm - 1),
        "shape": max(abs(found["e1"] - sky.e1), abs(found["e2"] - sky.e2)),
        "lost": 100 * max(0.0, 1 - found["source_count"] / sky.stars),
    }


# -- a visit, through the engine --------------------------------------------------------------


def visit(begun: Row) -> tuple[list[Row], list[str]]:
    """From the event to the summary, with the files in the machine's page cache."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        _write_site(site)
        row = asyncio.run(_through_engine(site))
    head = ("a visit of", "wall s", "processor s", "of it a detector", "workers' MB", "told")
    cells = [
        str(DETECTORS), f"{row['wall']:.1f}", f"{row['processor']:.1f}",
        f"{row['processor'] / DETECTORS:.3f}", f"{row['memory']:.0f}", row["note"],
    ]  # fmt: skip
    records.show("A visit of LSSTCam, binning 2", begun, head, [cells])
    late = row["processor"] / (os.cpu_count() or 1)
    return [row], [f"a visit takes {late:.0f} s"] if late > LIMITS["visit"] else []


def names() -> list[str]:
    """The 189 science detectors of LSSTCam."""
    rafts = [f"R{row}{column}" for row in range(5) for column in range(5)]
    sensors = [f"S{row}{column}" for row in range(3) for column in range(3)]
    inner = [raft for raft in rafts if raft not in ("R00", "R04", "R40", "R44")]
    return [f"{raft}_{sensor}" for raft in inner for sensor in sensors]


def _write_site(site: Path) -> None:
    """The shipped jobs with one rule; a few different frames, under the names of all detectors."""
    (site / "rules").mkdir()
    (site / "jobs").symlink_to(SITE / "jobs")
    (site / "catcher.yaml").write_text(SETTINGS)
    (site / "rules" / "images.yaml").write_text(RULE)
    for image in ("WARM", "VISIT"):
        (site / "data" / "images" / image).mkdir(parents=True)
    frames = [site / f"{number}.fits" for number in range(DIFFERENT)]
    for number, frame in enumerate(frames):
        write(frame, Sky(seed=number + 1, fwhm=3.6 + 0.05 * number, hits=60))
    for number, name in enumerate(names()):
        frame = frames[number % DIFFERENT]
        (site / "data" / "images" / "VISIT" / f"{name}.fits").hardlink_to(frame)
    for name in names()[:2]:
        (site / "data" / "images" / "WARM" / f"{name}.fits").hardlink_to(frames[0])


async def _through_engine(site: Path) -> Row:
    from catcher.app import open_engine
    from catcher.model.run import Run

    async with open_engine(site, site / "data", 0, lambda line: None) as running:
        ended: asyncio.Queue[Run] = asyncio.Queue(1000)

        def note(run: Run) -> None:
            if run.over and not run.part:
                ended.put_nowait(run)

        running.live.runs.subscribe(note)
        await _seen(running.url, "WARM")
        await ended.get()
        wall, processor = time.perf_counter(), _processor()
        await _seen(running.url, "VISIT")
        run = await ended.get()
        wall = time.perf_counter() - wall
        processor = _processor() - processor
        most = _largest()
        running.stop()
        await running.until_end()
    return {"wall": wall, "processor": processor, "memory": most, "note": run.note or run.error}


async def _seen(url: str, image: str) -> None:
    import httpx

    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        event = {"topic": "endReadout", "fields": {"imageName": image}}
        (await client.post(f"{url}/events", json=event)).raise_for_status()


def _processor() -> float:
    """Seconds of processor time of this process and of all below it, dead or alive."""
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = sum(sum(int(cell) for cell in cells[11:15]) for _, cells in _below(os.getpid()))
    alive /= os.sysconf("SC_CLK_TCK")
    return time.process_time() + gone.ru_utime + gone.ru_stime + alive


def _below(parent: int) -> Iterator[tuple[Path, list[str]]]:
    """The processes below one: their folders in /proc, and what `stat` says after the name."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            cells = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(cells[1]) == parent:
            yield stat.parent, cells
            yield from _below(int(stat.parent.name))


def _largest() -> float:
    """The most memory that a process below this one ever held, in MB."""
    statuses = [(folder / "status").read_text() for folder, _ in _below(os.getpid())]
    held = [line for text in statuses for line in text.splitlines() if line.startswith("VmHWM")]
    return max((int(line.split()[1]) / 1024 for line in held), default=0.0)


# -- memory -----------------------------------------------------------------------------------


def long_night(begun: Row) -> tuple[list[Row], list[str]]:
    """A hundred visits in one process: its resident size after the tenth and after the last."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        frames = [Path(folder) / f"{number}.fits" for number in range(OF_A_VISIT)]
        for number, frame in enumerate(frames):
            write(frame, Sky(seed=number + 1, fwhm=3.2 + 0.2 * number))
        measure = image_contest.contestant(BINNED)
        for _ in range(VISITS):
            for frame in frames:
                measure(frame)
            gc.collect()
            sizes.append(resident())
    growth = max(sizes[-10:]) - max(sizes[:10])
    row = {"visits": VISITS, "first": max(sizes[:10]), "last": max(sizes[-10:]), "growth": growth}
    head = ("visits of 9 detectors", "MB in the first ten", "MB in the last ten")
    cells = [str(VISITS), f"{row['first']:.0f}", f"{row['last']:.0f}"]
    records.show("Memory", begun, head, [cells])
    return [row], [f"memory grows by {growth:.0f} MB"] if growth > LIMITS["growth"] else []
