"""Is the cost of a study the same in a large job as in a small one? CPU-seconds and memory of prepare, generate, score.

Run ``python benchmarks/linear.py``: some ten minutes on one core and 300 MB of disk at 1,000 and 10,000 studies.

Phantom studies of two 64-pixel views lie as PNG files beside a table; half are train, half test. A network of the
quickstart's kind with random weights drafts a report of fixed length for every study (it never ends by itself, so all
cost the same). What is scored is not these drafts, which are one text, but for every test study the report of the next.

Every command runs in a process of its own, on one thread. What it costs to start is measured on ``--start`` studies and
taken off: the cost of a study is (CPU-seconds at n - CPU-seconds at start) / (n - start). All but the largest job are
short, so that they run once before it and ``--again`` times after it, and the least counts. Memory is the peak of
resident memory, and of the part of it that belongs to no file (Linux; looked at every 20 ms): pages of a mapped
store are counted in the first, and are the system's to take back.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine, machine_line
from published_size import table

SIZE_PX = 64
NUM_TOKENS = 40
STAGES = ("prepare", "generate", "score", "score with baselines")
MODEL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 18, "width": 16},
    "dim": 64,
    "num_heads": 4,
    "hidden_dim": 128,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "visual": False,
    "linguistic": False,
}


@dataclass(frozen=True)
class Cost:
    """What one process cost: CPU-seconds, peak resident memory and peak of its own memory, in 10^6 bytes."""

    cpu_s: float
    peak_mb: float
    own_mb: float


def make_studies(folder: Path, num_studies: int) -> None:
    """Phantom studies as files: ``studies.csv`` and ``images/``."""
    import csv

    from radwright.data.phantom import PhantomConfig, generate_study

    config = PhantomConfig(size_px=SIZE_PX)
    (folder / "images").mkdir(parents=True)
    with (folder / "studies.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "study_id", "patient_id", "view", "split", "findings"])
        for number in range(num_studies):
            study = generate_study(config, "test" if number % 2 else "train", number // 2).study()
            for view in study.views:
                name = view.image.name.replace("/", "-")
                (folder / "images" / name).write_bytes(view.image.read())
                findings = study.section("findings")
                rows.writerow([name, study.study_id, study.patient_id, view.position, study.split, findings])


def make_checkpoint(folder: Path, reports: Path) -> None:
    """A small network with random weights that knows the words of ``reports`` and never ends a report by itself."""
    import torch

    from radwright.decoding.config import DecodingConfig
    from radwright.imaging.config import ImageConfig
    from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
    from radwright.text.words import WordTokenizer

    texts = [json.loads(line)["report"] for line in reports.read_text(encoding="utf-8").splitlines()]
    tokenizer = WordTokenizer.build(texts, min_count=1)
    torch.manual_seed(0)
    image = ImageConfig(size_px=SIZE_PX)
    model = build_model("vlci", MODEL, tokenizer, image)
    decoding = DecodingConfig.parse(
        {"strategy": {"kind": "greedy"}, "min_tokens": NUM_TOKENS, "max_tokens": NUM_TOKENS}, where="benchmark"
    )
    config = CheckpointConfig(method="vlci", model=MODEL, image=image, decoding=decoding)
    save_checkpoint(folder, config, model, tokenizer, {"seed": 0})


def write_drafts(reports: Path, drafts: Path) -> None:
    """For every test study the report of the next one."""
    rows = [json.loads(line) for line in reports.read_text(encoding="utf-8").splitlines()]
    test = [row for row in rows if row["split"] == "test"]
    with drafts.open("w", encoding="utf-8") as stream:
        for row, following in zip(test, [*test[1:], test[0]], strict=True):
            stream.write(json.dumps({"study_id": row["study_id"], "report": following["report"]}) + "\n")


def cost_of(command: list[str], folder: Path) -> Cost:
    """Run a command to its end, on one thread, remembering nothing from other runs."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        own = 0.0
        while True:
            own = max(own, _own_mb(process.pid))
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}; see {folder / 'log.txt'}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6, own)


def _own_mb(pid: int) -> float:
    """Resident memory that belongs to no file, in 10^6 bytes; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon:")), 0.0)


def part(name: str, *arguments: object) -> list[str]:
    """The command that runs a part of this script in a process of its own."""
    return [sys.executable, str(Path(__file__).resolve()), "--part", name, *map(str, arguments)]


def measure(folder: Path, num_studies: int) -> dict[str, Cost]:
    """The cost of every stage at one size; what is in the folder from an earlier call is made anew but the studies."""
    radwright = [sys.executable, "-m", "radwright"]
    source, store, checkpoint = folder / "source", folder / "store", folder / "checkpoint"
    reports, drafts = store / "reports.jsonl", folder / "drafts.jsonl"
    if not folder.exists():
        folder.mkdir()
        cost_of(part("studies", source, num_studies), folder)
    for made in (store, checkpoint, folder / "cache"):
        shutil.rmtree(made, ignore_errors=True)
    (folder / "g.jsonl").unlink(missing_ok=True)
    found = {}
    found["prepare"] = cost_of(
        [*radwright, "prepare", str(source), "--format", "table", "--out", str(store), "--workers", "1"], folder
    )
    cost_of(part("checkpoint", checkpoint, reports), folder)
    found["generate"] = cost_of(
        [*radwright, "generate", str(checkpoint), str(store), "--out", str(folder / "g.jsonl"), "--threads", "1"],
        folder,
    )
    write_drafts(reports, drafts)
    score = [*radwright, "score", str(drafts), "--references", str(reports), "--split", "test"]
    found["score"] = cost_of([*score, "--json", str(folder / "a.json")], folder)
    others = ["--train", str(reports), "--constants-from", str(reports), "--json", str(folder / "b.json")]
    found["score with baselines"] = cost_of([*score, *others], folder)
    return found


def measure_all(folder: Path, sizes: list[int], again: int) -> dict[int, dict[str, Cost]]:
    """The costs at every size; of the jobs but the largest the least of several."""
    *short, large = sizes
    runs: dict[int, list[dict[str, Cost]]] = {size: [] for size in sizes}
    for size in [*short, large, *short * again]:
        runs[size].append(measure(folder / str(size), size))
    return {
        size: {
            stage: Cost(
                *(min(getattr(run[stage], name) for run in measured) for name in ("cpu_s", "peak_mb", "own_mb"))
            )
            for stage in STAGES
        }
        for size, measured in runs.items()
    }


def compare(costs: dict[int, dict[str, Cost]]) -> list[dict[str, Any]]:
    """A row per stage: the cost of a study at both sizes, and the memory."""
    start, small, large = sorted(costs)
    rows = []
    for stage in STAGES:
        begun, few, many = (costs[size][stage] for size in (start, small, large))
        per_study = [(each.cpu_s - begun.cpu_s) / (size - start) for each, size in ((few, small), (many, large))]
        rows.append(
            {
                "stage": stage,
                "start_cpu_s": round(begun.cpu_s, 2),
                "cpu_ms_per_study": [round(1000 * each, 3) for each in per_study],
                "ratio": round(per_study[1] / per_study[0], 3),
                "peak_mb": [round(each.peak_mb, 1) for each in (few, many)],
                "own_mb": [round(each.own_mb, 1) for each in (few, many)],
            }
        )
    return rows


def show(rows: list[dict[str, Any]], sizes: list[int]) -> str:
    few, many = sizes
    head = ("stage", "start, CPU-s", f"ms/study at {few}", f"at {many}", "ratio", "peak MB", "own MB")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        both = {name: " -> ".join(f"{value:.0f}" for value in row[name]) for name in ("peak_mb", "own_mb")}
        costs = [f"{value:.2f}" for value in row["cpu_ms_per_study"]]
        start = f"{row['start_cpu_s']:.1f}"
        lines.append((row["stage"], start, *costs, f"{row['ratio']:.2f}", both["peak_mb"], both["own_mb"]))
    return table(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=[1000, 10000], help="studies of the two jobs")
    parser.add_argument("--start", type=int, default=50, help="studies of the job that tells what starting costs")
    parser.add_argument("--again", type=int, default=2, help="further runs of the short jobs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        name, path, argument = arguments.part
        if name == "studies":
            make_studies(Path(path), int(argument))
        else:
            make_checkpoint(Path(path), Path(argument))
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = sorted({arguments.start, *arguments.sizes})
        if len(sizes) < 3:
            raise SystemExit("--sizes and --start: give three different numbers of studies")
        rows = compare(measure_all(Path(folder), sizes, arguments.again))
    where = machine()
    if arguments.json:
        print(json.dumps({"sizes": arguments.sizes, "stages": rows, "machine": where}))
    else:
        print(f"{show(rows, sizes[1:])}\n{machine_line(where)}")


if __name__ == "__main__":
    main()
