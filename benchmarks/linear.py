"""Is the cost of a study the same in a large job as in a small one? CPU-seconds and memory of prepare, generate, score.

Run ``python benchmarks/linear.py``: some ten minutes on one core and 300 MB of disk at 1,000 and 10,000 studies.

Phantom studies of two 64-pixel views lie as PNG files beside a table; half are train, half test. A network of the
quickstart's kind with random weights drafts a report of fixed length for every study (it never ends by itself, so all
cost the same). What is scored is not these drafts, which are one text, but for every test study the report of the next.

Every command runs in a process of its own, on one thread. What it costs to start is measured on ``--start`` studies and
taken off: the cost of a study is (CPU-seconds at n - CPU-seconds at start) / (n - start). Other work on the machine
makes a CPU-second worth less, so the jobs take turns of half a second: while the largest stands still the others run,
again and again until it ends, and their means count. All meet the same machine.

Memory is the peak of resident memory, and of the part of it that belongs to no file (Linux; looked at every 20 ms):
pages of a mapped store are counted in the first, and are the system's to take back.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from machine import machine, machine_line
from published_size import table

SIZE_PX = 64
NUM_TOKENS = 40
TURN_S = 0.5
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


class Running:
    """A command on one thread that remembers nothing from other runs, and runs only in its turns."""

    def __init__(self, command: list[str], folder: Path) -> None:
        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        cache = tempfile.mkdtemp(dir=folder)
        self.command, self.log, self.own_mb = command, folder / "log.txt", 0.0
        with self.log.open("ab") as log:
            environment = os.environ | one | {"XDG_CACHE_HOME": cache}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def turn(self, seconds: float = float("inf")) -> Cost | None:
        """Let it run so long, then stand still; what it has cost where it ended."""
        end = time.monotonic() + seconds
        os.kill(self.process.pid, signal.SIGCONT)
        while time.monotonic() < end:
            self.own_mb = max(self.own_mb, _own_mb(self.process.pid))
            pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                if self.process.returncode:
                    raise SystemExit(f"{' '.join(self.command)}: exit status {self.process.returncode}; see {self.log}")
                unit = 1 if sys.platform == "darwin" else 1024
                return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6, self.own_mb)
            time.sleep(0.02)
        os.kill(self.process.pid, signal.SIGSTOP)
        return None


def run(command: list[str], folder: Path) -> Cost:
    """A command from its start to its end."""
    cost = Running(command, folder).turn()
    assert cost is not None
    return cost


def take_turns(
    large: list[str], others: Iterator[tuple[int, list[str]]], folder: Path
) -> tuple[Cost, dict[int, list[Cost]]]:
    """One long command, and beside it others, named by their size, one after the other until it ends.

    The last of the others runs to its end, so that each size that is named in turn has been measured at least once.
    """
    long, ended = Running(large, folder), None
    costs: dict[int, list[Cost]] = {}
    try:
        while ended is None or len(costs) < 2:
            size, command = next(others)
            short, cost = Running(command, folder), None
            while cost is None:
                cost = short.turn(TURN_S)
                ended = ended or long.turn(TURN_S)
            costs.setdefault(size, []).append(cost)
    finally:
        if ended is None:
            long.process.kill()
    return ended, costs


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


class Job:
    """The commands of one size, in a folder of its own."""

    def __init__(self, folder: Path, num_studies: int) -> None:
        self.folder, self.num_studies, self._number = folder, num_studies, 0
        self.store, self.checkpoint, self.drafts = folder / "0", folder / "checkpoint", folder / "drafts.jsonl"
        folder.mkdir()
        run(part("studies", folder / "source", num_studies), folder)

    def command(self, stage: str) -> list[str]:
        """The command of a stage; each call writes to a place of its own. What ``prepare`` writes first is kept."""
        out = self.folder / str(self._number)
        self._number += 1
        radwright, reports = [sys.executable, "-m", "radwright"], str(self.store / "reports.jsonl")
        source, to = [str(self.folder / "source"), "--format", "table"], ["--out", str(out)]
        drafted = [str(self.checkpoint), str(self.store)]
        score = [*radwright, "score", str(self.drafts), "--references", reports, "--split", "test", "--json", str(out)]
        return {
            "prepare": [*radwright, "prepare", *source, *to, "--workers", "1"],
            "generate": [*radwright, "generate", *drafted, *to, "--threads", "1"],
            "score": score,
            "score with baselines": [*score, "--train", reports, "--constants-from", reports],
        }[stage]

    def make_ready(self) -> None:
        """Make what the stages after ``prepare`` read."""
        reports = self.store / "reports.jsonl"
        run(part("checkpoint", self.checkpoint, reports), self.folder)
        write_drafts(reports, self.drafts)


def measure(folder: Path, sizes: list[int]) -> dict[int, dict[str, Cost]]:
    """The costs of every stage at every size; of all sizes but the largest the mean of several runs."""
    *short, large = [Job(folder / str(size), size) for size in sizes]
    found: dict[int, dict[str, Cost]] = {size: {} for size in sizes}
    for stage in STAGES:
        others = ((job.num_studies, job.command(stage)) for job in itertools.cycle(short))
        found[large.num_studies][stage], costs = take_turns(large.command(stage), others, folder)
        for size, runs in costs.items():
            found[size][stage] = Cost(*(statistics.fmean(values) for values in zip(*map(astuple, runs), strict=True)))
        if stage == "prepare":
            for job in (*short, large):
                job.make_ready()
    return found


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
        rows = compare(measure(Path(folder), sizes))
    where = machine()
    if arguments.json:
        print(json.dumps({"sizes": arguments.sizes, "stages": rows, "machine": where}))
    else:
        print(f"{show(rows, sizes[1:])}\n{machine_line(where)}")


if __name__ == "__main__":
    main()
