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

from benchmarks import image_contestant_process, peer_installer, reporting
from benchmarks.image_contestant_process import (
    CATCHER,
    CATCHER_BINNED,
    PHOTUTILS,
    PHOTUTILS_PLAIN,
    SITE,
)
from benchmarks.memory import resident_memory
from benchmarks.reporting import Row
from benchmarks.synthetic_images import ImageSpec, write_image

SECTIONS = ("detector", "truth", "visit", "memory")
DETECTOR_COUNT, FRAME_COUNT, VISIT_COUNT, DETECTORS_PER_VISIT = 189, 8, 100, 9
LIMITS = {"seconds": 0.35, "ratio": 20.0, "memory": 250.0, "visit": 30.0, "growth": 20.0}
SINGLE_THREAD_ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
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
    parser.add_argument("--only", default=",".join(SECTIONS))
    args = parser.parse_args(arguments)
    machine, rows, missed = reporting.describe_machine(), [], []
    for section in args.only.split(","):
        section_rows, problems = {
            "detector": lambda: compare_speed(machine, args.rounds),
            "truth": lambda: measure_accuracy(machine, args.seeds),
            "visit": lambda: measure_visit(machine),
            "memory": lambda: measure_memory(machine),
        }[section]()
        rows += [{"part": section, **row} for row in section_rows]
        missed += problems
    if args.only == ",".join(SECTIONS):
        reporting.write_results("images", machine, rows)
    if missed:
        raise SystemExit(f"targets missed: {'; '.join(missed)}")


# -- one detector, beside photutils ---------------------------------------------------------


def compare_speed(machine: Row, rounds: int) -> tuple[list[Row], list[str]]:
    """Each contestant in turn, round after round."""
    missing = peer_installer.install_packages([PHOTUTILS])
    names = (
        [CATCHER, CATCHER_BINNED]
        if missing
        else [CATCHER, CATCHER_BINNED, PHOTUTILS, PHOTUTILS_PLAIN]
    )
    durations: dict[str, list[float]] = {name: [] for name in names}
    latest: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "R22_S11.fits"
        write_image(path, ImageSpec(cosmic_rays=60))
        for _ in range(rounds):
            for name in names:
                latest[name] = _run_contestant(
                    name, path, 3 if name in (CATCHER, CATCHER_BINNED) else 1
                )
                durations[name].append(min(latest[name]["took"]))
    rows = [
        {"name": name, "seconds": reporting.median(durations[name]), **latest[name]}
        for name in names
    ]
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
    headings = (
        "contestant",
        "s a detector",
        "times ours",
        "peak MB",
        "sky e",
        "noise e",
        "FWHM",
        "stars",
    )
    reporting.print_table(
        "One detector, 4072 x 4000", machine, headings, [_format_cells(row) for row in rows]
    )
    for name, error_text in missing.items():
        print(f"{name} could not be had: {error_text}")
    return rows, _check_limits(rows)


def _run_contestant(name: str, path: Path, repetitions: int) -> Row:
    command = [
        sys.executable,
        "-m",
        "benchmarks.image_contestant_process",
        name,
        str(path),
        str(repetitions),
    ]
    environment = {**peer_installer.build_environment([PHOTUTILS]), **SINGLE_THREAD_ENV}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{name} failed:\n{process.stderr}")
    row: Row = json.loads(process.stdout.splitlines()[-1])
    return row


def _format_cells(row: Row) -> list[str]:
    values = row["found"]
    return [
        row["name"], f"{row['seconds']:.3f}", f"{row['ratio']:.1f}", f"{row['memory']:.0f}",
        f"{values['sky_bg']:.2f}", f"{values['sky_noise']:.2f}", f"{values['psf_fwhm']:.3f}",
        f"{values['n_psf_star']:.0f}",
    ]  # fmt: skip


def _check_limits(rows: Sequence[Row]) -> list[str]:
    catcher_row = rows[0]
    problems = []
    if catcher_row["seconds"] > LIMITS["seconds"]:
        problems.append(f"{catcher_row['seconds']:.2f} s a detector")
    if max(row["memory"] for row in rows[:2]) > LIMITS["memory"]:
        problems.append(f"{max(row['memory'] for row in rows[:2]):.0f} MB")
    photutils_row = next((row for row in rows if row["name"] == PHOTUTILS), None)
    if photutils_row is not None and photutils_row["ratio"] < LIMITS["ratio"]:
        problems.append(f"only {photutils_row['ratio']:.1f} times photutils")
    return problems


# -- truth ----------------------------------------------------------------------------------


def measure_accuracy(machine: Row, seeds: int) -> tuple[list[Row], list[str]]:
    """The worst of each error over skies that depend on the seed alone."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in (CATCHER, CATCHER_BINNED):
            measure = image_contestant_process.find_contestant(name)
            errors = [_measure_errors(measure, Path(folder), 1000 + seed) for seed in range(seeds)]
            worst = {key: max(run[key] for run in errors) for key in errors[0]}
            rows.append({"name": name, **worst})
    headings = (
        "worst of all seeds",
        "sky %",
        "overscan ADU",
        "noise %",
        "FWHM %",
        "e1, e2",
        "found %",
    )
    table = [
        [row["name"], f"{row['sky']:.3f}", f"{row['overscan']:.2f}", f"{row['noise']:.2f}",
         f"{row['fwhm']:.2f}", f"{row['shape']:.4f}", f"{100 - row['lost']:.1f}"]
        for row in rows
    ]  # fmt: skip
    reporting.print_table(f"Truth, {seeds} skies", machine, headings, table)
    limits = {"sky": 0.1, "overscan": 0.55, "noise": 2, "fwhm": 2, "shape": 0.005, "lost": 8}
    return rows, [
        f"{key} {row[key]:.3g}" for row in rows for key, limit in limits.items() if row[key] > limit
    ]


def _measure_errors(
    measure: image_contestant_process.MeasureFunction, folder: Path, seed: int
) -> dict[str, float]:
    rng = np.random.default_rng((seed, 77))
    sky = ImageSpec(
        seed=seed, fwhm=rng.uniform(2.8, 6), e1=rng.uniform(-0.1, 0.1),
        e2=rng.uniform(-0.1, 0.1), beta=(None, 4.765, 3.0)[rng.integers(3)],
        sky=rng.uniform(60, 1500), bias=rng.uniform(800, 25_000), faintest=4_000.0, stars=1_000,
    )  # fmt: skip
    path = folder / "a.fits"
    truth = write_image(path, sky)
    values = measure(path)
    noise = np.hypot(np.sqrt(sky.sky), sky.read_noise)
    return {
        "sky": 100 * abs(values["sky_bg"] / sky.sky - 1),
        "overscan": abs(values["overscan_median"] - float(np.median(truth.biases))),
        "noise": 100 * float(abs(values["sky_noise"] / noise - 1)),
        "fwhm": 100 * abs(values["psf_fwhm"] / sky.fwhm - 1),
        "shape": max(abs(values["e1"] - sky.e1), abs(values["e2"] - sky.e2)),
        "lost": 100 * max(0.0, 1 - values["source_count"] / sky.stars),
    }


# -- a visit, through the engine --------------------------------------------------------------


def measure_visit(machine: Row) -> tuple[list[Row], list[str]]:
    """From the event to the summary, with the files in the machine's page cache."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        _write_site(site)
        row = asyncio.run(_measure_engine(site))
    headings = ("a visit of", "wall s", "processor s", "of it a detector", "workers' MB", "told")
    row_values = [
        str(DETECTOR_COUNT), f"{row['wall']:.1f}", f"{row['processor']:.1f}",
        f"{row['processor'] / DETECTOR_COUNT:.3f}", f"{row['memory']:.0f}", row["note"],
    ]  # fmt: skip
    reporting.print_table("A visit of LSSTCam, binning 2", machine, headings, [row_values])
    seconds = row["processor"] / (os.cpu_count() or 1)
    return [row], [f"a visit takes {seconds:.0f} s"] if seconds > LIMITS["visit"] else []


def detector_names() -> list[str]:
    """The 189 science detectors of LSSTCam."""
    rafts = [f"R{row}{column}" for row in range(5) for column in range(5)]
    sensors = [f"S{row}{column}" for row in range(3) for column in range(3)]
    science_rafts = [raft for raft in rafts if raft not in ("R00", "R04", "R40", "R44")]
    return [f"{raft}_{sensor}" for raft in science_rafts for sensor in sensors]


def _write_site(site: Path) -> None:
    """The shipped jobs with one rule; a few different frames, under the names of all detectors."""
    (site / "rules").mkdir()
    (site / "jobs").symlink_to(SITE / "jobs")
    (site / "catcher.yaml").write_text(SETTINGS)
    (site / "rules" / "images.yaml").write_text(RULE)
    for image in ("WARM", "VISIT"):
        (site / "data" / "images" / image).mkdir(parents=True)
    frames = [site / f"{number}.fits" for number in range(FRAME_COUNT)]
    for number, frame in enumerate(frames):
        write_image(frame, ImageSpec(seed=number + 1, fwhm=3.6 + 0.05 * number, cosmic_rays=60))
    for number, name in enumerate(detector_names()):
        frame = frames[number % FRAME_COUNT]
        (site / "data" / "images" / "VISIT" / f"{name}.fits").hardlink_to(frame)
    for name in detector_names()[:2]:
        (site / "data" / "images" / "WARM" / f"{name}.fits").hardlink_to(frames[0])


async def _measure_engine(site: Path) -> Row:
    from catcher.app import open_engine
    from catcher.model.run import Run

    async with open_engine(site, site / "data", 0, lambda _: None) as running:
        ended_runs: asyncio.Queue[Run] = asyncio.Queue(1000)

        def record_end(run: Run) -> None:
            if run.is_finished and not run.part:
                ended_runs.put_nowait(run)

        running.event_bus.runs.subscribe(record_end)
        await _post_image(running.url, "WARM")
        await ended_runs.get()
        wall, processor = time.perf_counter(), _processor_seconds()
        await _post_image(running.url, "VISIT")
        run = await ended_runs.get()
        wall = time.perf_counter() - wall
        processor = _processor_seconds() - processor
        peak_memory = _peak_child_memory()
        running.stop()
        await running.wait_until_ended()
    return {
        "wall": wall,
        "processor": processor,
        "memory": peak_memory,
        "note": run.note or run.error,
    }


async def _post_image(url: str, image: str) -> None:
    import httpx

    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        event = {"topic": "endReadout", "fields": {"imageName": image}}
        (await client.post(f"{url}/events", json=event)).raise_for_status()


def _processor_seconds() -> float:
    """Seconds of processor time of this process and of all below it, dead or alive."""
    dead_children = resource.getrusage(resource.RUSAGE_CHILDREN)
    live_seconds = sum(
        sum(int(field) for field in fields[11:15]) for _, fields in _iter_descendants(os.getpid())
    )
    live_seconds /= os.sysconf("SC_CLK_TCK")
    return time.process_time() + dead_children.ru_utime + dead_children.ru_stime + live_seconds


def _iter_descendants(parent: int) -> Iterator[tuple[Path, list[str]]]:
    """The processes below one: their folders in /proc, and what `stat_file` says after the name."""
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat_file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            yield stat_file.parent, fields
            yield from _iter_descendants(int(stat_file.parent.name))


def _peak_child_memory() -> float:
    """The most memory that a process below this one ever held, in MB."""
    statuses = [(folder / "status").read_text() for folder, _ in _iter_descendants(os.getpid())]
    lines = [line for text in statuses for line in text.splitlines() if line.startswith("VmHWM")]
    return max((int(line.split()[1]) / 1024 for line in lines), default=0.0)


# -- memory -----------------------------------------------------------------------------------


def measure_memory(machine: Row) -> tuple[list[Row], list[str]]:
    """A hundred visits in one process: its resident size after the tenth and after the last."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        frames = [Path(folder) / f"{number}.fits" for number in range(DETECTORS_PER_VISIT)]
        for number, frame in enumerate(frames):
            write_image(frame, ImageSpec(seed=number + 1, fwhm=3.2 + 0.2 * number))
        measure = image_contestant_process.find_contestant(CATCHER_BINNED)
        for _ in range(VISIT_COUNT):
            for frame in frames:
                measure(frame)
            gc.collect()
            sizes.append(resident_memory())
    growth = max(sizes[-10:]) - max(sizes[:10])
    row = {
        "visits": VISIT_COUNT,
        "first": max(sizes[:10]),
        "last": max(sizes[-10:]),
        "growth": growth,
    }
    headings = ("visits of 9 detectors", "MB in the first ten", "MB in the last ten")
    row_values = [str(VISIT_COUNT), f"{row['first']:.0f}", f"{row['last']:.0f}"]
    reporting.print_table("Memory", machine, headings, [row_values])
    return [row], [f"memory grows by {growth:.0f} MB"] if growth > LIMITS["growth"] else []
