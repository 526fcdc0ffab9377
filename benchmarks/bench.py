"""Every benchmark, one after the other, each in a process of its own: what ``make bench`` runs.

Writes into ``--out``, for each benchmark, what it printed (NAME.txt, and NAME/ where it makes files), how long it took
and on which commit (bench.json), and a table of all (bench.md). Started again on the same commit it goes on behind the
last one that was done; one that fails is told, and the others go on. ``--only NAME`` runs some, ``--list`` names them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDER = "{folder}"
"""Stands for the benchmark's own folder in a command."""


@dataclass(frozen=True)
class Benchmark:
    """One question.

    Attributes:
        name: of its files.
        question: what it answers.
        command: script and options.
        minutes: it takes, about, on one core of 2026.
        needs_gpu: left out, with the reason, where there is none.
    """

    name: str
    question: str
    command: tuple[str, ...]
    minutes: float
    needs_gpu: bool = False


BENCHMARKS = (
    Benchmark("drafting", "CPU-seconds and memory of a draft?", ("generation.py", "--json"), 2),
    Benchmark("training", "CPU-seconds and memory of a training step?", ("training_step.py", "--json"), 1),
    Benchmark("processes", "What do several processes cost, with whole or shared weights?", ("many_processes.py",), 5),
    Benchmark("floors", "Where does the time go, and how far from the floor?", ("floors.py", "--out", FOLDER), 6),
    Benchmark("engines", "What do ONNX Runtime, int8 and torch.compile bring?", ("engines.py",), 12),
    Benchmark("data", "How fast do image files become batches, beside their codec?", ("data.py",), 4),
    Benchmark("linear", "Does a study cost the same in a job ten times as large?", ("linear.py",), 9),
    Benchmark("planning", "What do a million studies take, and a hundred million?", ("planning.py",), 3),
    Benchmark("search", "What does the decoding loop cost per step?", ("decoding_overhead.py",), 1),
    Benchmark("phantom", "How fast are synthetic studies made?", ("phantom.py", "--json"), 1),
    Benchmark("metrics", "How fast are reports scored?", ("metrics.py",), 3),
    Benchmark("hostile", "What do hostile uploads cost?", ("hostile_uploads.py", "--json"), 2),
    Benchmark(
        "serving",
        "What does the reading room carry, and what do batches bring?",
        ("serving.py", "--published", "--clients", "20", "--warm-up", "30", "--compare", "--size-px", "512"),
        6,
    ),
    Benchmark(
        "jobs",
        "What do whole drafting jobs reach on a GPU, alone and by Ray's workers?",
        ("whole_jobs.py",),
        6,
        needs_gpu=True,
    ),
    Benchmark(
        "runs", "How much of a GPU's own rate does a training run reach?", ("training_run.py",), 4, needs_gpu=True
    ),
    Benchmark(
        "gpu",
        "Training and drafting on a GPU beside its ceilings?",
        ("gpu.py", "--json", f"{FOLDER}/gpu.json"),
        8,
        needs_gpu=True,
    ),
)


def run(benchmark: Benchmark, out: Path) -> dict[str, Any]:
    """Run one; what became of it."""
    folder = out / benchmark.name
    script, *options = (part.replace(FOLDER, str(folder)) for part in benchmark.command)
    if any(FOLDER in part for part in benchmark.command):
        folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (out / f"{benchmark.name}.txt").open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, str(HERE / script), *options], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    return {"rc": done.returncode, "wall_s": round(time.monotonic() - started, 1)}


def table(found: dict[str, Any], commit: str, machine: str) -> str:
    """All benchmarks as Markdown."""
    lines = [f"Commit {commit}; {machine}; one thread.", "", "| benchmark | question | |", "|---|---|---|"]
    for benchmark in BENCHMARKS:
        made = found.get(benchmark.name, {"note": "not run"})
        words = made.get("note") or (f"{made['wall_s']:.0f} s" if made["rc"] == 0 else f"**failed** ({made['rc']})")
        lines.append(f"| [{benchmark.name}]({benchmark.name}.txt) | {benchmark.question} | {words} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--only", action="append", default=[], choices=[each.name for each in BENCHMARKS])
    parser.add_argument("--again", action="store_true", help="run what was done on this commit once more")
    parser.add_argument("--list", action="store_true", help="name them and stop")
    arguments = parser.parse_args()
    if arguments.list:
        for each in BENCHMARKS:
            print(f"{each.name:12} {each.minutes:4.0f} min  {each.question}")
        return 0
    from radwright.runs.provenance import provenance

    origin = provenance()
    commit, machine = str(origin["commit"]), str(origin["machine"])
    file = arguments.out / "bench.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found: dict[str, Any] = before["found"] if before.get("commit") == commit else {}
    for each in BENCHMARKS:
        if arguments.only and each.name not in arguments.only:
            continue
        if found.get(each.name, {}).get("rc") == 0 and not arguments.again:
            print(f"{each.name}: done on this commit already")
            continue
        if each.needs_gpu and shutil.which("nvidia-smi") is None:
            found[each.name] = {"note": "left out: no NVIDIA GPU here"}
        else:
            print(f"{each.name}: about {each.minutes:.0f} min ...", flush=True)
            found[each.name] = run(each, arguments.out)
        whole = {"commit": commit, "machine": machine, "found": found}
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        (arguments.out / "bench.md").write_text(table(found, commit, machine), encoding="utf-8")
    print(f"\n{table(found, commit, machine)}")
    return int(any(each.get("rc") for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
