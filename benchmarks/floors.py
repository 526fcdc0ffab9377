"""Where the time goes, stage by stage, each beside its floor: drafting and a training step at the published size.

Run ``python benchmarks/floors.py --threads 1 --out bench/floors``: writes floors.json and a page, index.html. A floor
is what this machine needs for the stage's operations and bytes at the best rates that it reached just before or after
(products, convolutions, reading memory); of image files it is the codec alone. The same once more in bfloat16, without
a goal.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bars import Bar, write_bars
from published_size import (
    BOS,
    EOS,
    NEVER,
    Size,
    build,
    cpu_seconds,
    in_own_process,
    machine_speed,
    make_batch,
    peak_mb,
    size_of,
    table,
)

PRECISIONS = ("fp32", "bf16")
FILE_PX = 1024


def computing(precision: str) -> AbstractContextManager[Any]:
    """Inside, products are of that precision."""
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def best_of(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What the machine reached at best, before or after: on a shared machine either moment may be a slow one."""
    return {name: max(before[name], after[name]) for name in before}


def measure_drafting(arguments: argparse.Namespace, num_studies: int, precision: str) -> dict[str, Any]:
    """Stages of drafting a batch, from image files to text."""
    from phases import NUM_BEAMS, stages_of

    from radwright.decoding.config import Beam, DecodingConfig
    from radwright.decoding.generate import generate

    size = size_of(arguments)
    model, batch = build(size).eval(), make_batch(size, num_studies)
    # EOS only at the last token: every study takes all steps with three live beams.
    config = DecodingConfig(
        strategy=Beam(num_beams=NUM_BEAMS, early_stop=False), max_tokens=size.num_tokens, min_tokens=size.num_tokens
    )
    token_ids: list[list[int]] = []

    def draft(network: Any) -> None:
        reports = generate(network, batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=NEVER)
        token_ids[:] = [report.token_ids for report in reports]

    with computing(precision):
        speed = machine_speed()
        rounds = arguments.rounds if num_studies == 1 else max(2, arguments.rounds // 2)
        found = stages_of(model, draft, num_studies=num_studies, num_tokens=size.num_tokens, rounds=rounds)
        speed = best_of(speed, machine_speed())
    stages = {
        "image files": _image_files(size, num_studies),
        **{name: asdict(stage) for name, stage in found.items()},
        "text": _text(size, token_ids),
    }
    return {"speed": speed, "stages": stages, "num_studies": num_studies, "peak_mb": peak_mb()}


def _image_files(size: Size, num_studies: int) -> dict[str, Any]:
    """Two JPEG views a study to the network's tensor; the floor is the codec alone, at the same scale."""
    from phases import Stage
    from PIL import Image

    from radwright.data.loading import LoadingConfig, load_study
    from radwright.data.phantom import PhantomConfig, generate_study
    from radwright.imaging.config import ImageConfig
    from radwright.types import ImageInMemory, Study, View

    phantom = generate_study(PhantomConfig(size_px=FILE_PX), "test", 0)
    files = []
    for name in ("frontal", "lateral"):
        stream = io.BytesIO()
        Image.fromarray(phantom.images[name]).save(stream, "JPEG", quality=92)  # type: ignore[index]
        files.append(stream.getvalue())
    views = tuple(View(ImageInMemory(str(place), data)) for place, data in enumerate(files))
    study, image = Study("benchmark", views, {}), ImageConfig(size_px=size.size_px)

    def codec() -> None:
        for data in files:
            opened = Image.open(io.BytesIO(data))
            opened.draft("L", (size.size_px, size.size_px))
            opened.load()

    taken = min(cpu_seconds(lambda: load_study(study, image, LoadingConfig()), rounds=9))
    alone = min(cpu_seconds(codec, rounds=9))
    return asdict(Stage(taken * num_studies, floor_s=alone * num_studies))


def _text(size: Size, token_ids: list[list[int]]) -> dict[str, Any]:
    """Token ids to sentence-cased text; the floor is joining the words."""
    from phases import Stage

    from radwright.text.words import WordTokenizer

    words = [f"word{number}" for number in range(size.num_words)]
    tokenizer = WordTokenizer.build([" ".join(words)], min_count=1)
    taken = min(cpu_seconds(lambda: [tokenizer.decode(ids) for ids in token_ids], rounds=9))
    alone = min(cpu_seconds(lambda: [" ".join(words[index - 4] for index in ids) for ids in token_ids], rounds=9))
    return asdict(Stage(taken, floor_s=alone))


def measure_training(arguments: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Stages of a training step: forward, backward, AdamW."""
    from phases import Stage
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
    from radwright.training.optim import OptimizerConfig, make_optimizer

    size = size_of(arguments)
    objective = TeacherForcing(build(size).train(), TeacherForcingConfig())
    optimizer = make_optimizer(objective, OptimizerConfig())
    batch = make_batch(size, size.num_training_studies)
    count = objective.counts(batch)["report"]

    def step() -> tuple[float, float, float]:
        marks = [time.process_time()]
        optimizer.zero_grad(set_to_none=True)
        with computing(precision):
            loss = objective(batch)["report"] / count
        marks.append(time.process_time())
        loss.backward()
        marks.append(time.process_time())
        optimizer.step()
        marks.append(time.process_time())
        return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]

    with computing(precision):
        speed = machine_speed()
    steps = [step() for _ in range(2 + arguments.rounds)][2:]
    with computing(precision):
        speed = best_of(speed, machine_speed())
    peak = peak_mb()
    gflop = list[dict[str, float]]()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        loss = objective(batch)["report"]
        gflop.append(_by_kind(counter))
        loss.backward()
    gflop.append(_by_kind(counter))
    gflop[1] = {kind: gflop[1][kind] - gflop[0][kind] for kind in gflop[0]}
    # A weight, its gradient and two moments are read, all but the gradient written.
    moved = 7 * 4 * sum(w.numel() for w in objective.parameters() if w.requires_grad) / 1e9
    times = [min(part) for part in zip(*steps, strict=True)]
    floors = [sum(each[kind] / speed[f"{kind}_gflops"] for kind in each) for each in gflop]
    stages = {
        name: asdict(Stage(cpu_s, sum(each.values()), floor_s=floor))
        for name, cpu_s, each, floor in zip(("forward", "backward"), times, gflop, floors, strict=False)
    }
    stages["optimiser"] = asdict(Stage(times[2], moved_gb=moved))
    return {"speed": speed, "stages": stages, "num_studies": size.num_training_studies, "peak_mb": peak}


def _by_kind(counter: Any) -> dict[str, float]:
    """10^9 operations so far, of convolutions and of other products."""
    kinds = counter.get_flop_counts()["Global"]
    convolutions = sum(count for kind, count in kinds.items() if "convolution" in str(kind)) / 1e9
    return {"conv": convolutions, "gemm": counter.get_total_flops() / 1e9 - convolutions}


def bars_of(found: dict[str, Any], *, per_study: bool) -> list[Bar]:
    """A measurement's stages, and their sum, as what is drawn and printed."""
    from phases import Stage

    share = 1 / found["num_studies"] if per_study else 1.0
    rows = []
    for name, values in found["stages"].items():
        stage = Stage(**values)
        rows.append(Bar(name, stage.cpu_s * share, stage.floor(found["speed"]) * share, stage.gflop * share))
    total = Bar("sum", *(sum(getattr(row, key) for row in rows) for key in ("cpu_s", "floor_s", "gflop")))
    return [*rows, total]


def show(title: str, rows: list[Bar]) -> str:
    """A measurement's stages as a table."""
    lines: list[tuple[str, ...]] = [("stage", "GFLOP", "CPU-s", "floor", "times the floor")]
    lines += [(row.name, f"{row.gflop:.2f}", f"{row.cpu_s:.4f}", f"{row.floor_s:.4f}", row.times) for row in rows]
    return f"{title}\n{table(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of the measured process")
    parser.add_argument("--rounds", type=int, default=7, help="measured batches or steps, after a warm-up")
    parser.add_argument("--tiny", action="store_true", help="a toy network: only shows that the benchmark runs")
    parser.add_argument("--out", type=Path, help="folder for floors.json and index.html")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        import torch

        torch.set_num_threads(arguments.threads)
        what, precision, number = arguments.part.split(":")
        measured = (
            measure_training(arguments, precision)
            if what == "training"
            else measure_drafting(arguments, int(number), precision)
        )
        print(json.dumps(measured))
        return
    sections: list[tuple[str, list[Bar]]] = []
    results: dict[str, Any] = {}
    for precision in PRECISIONS:
        for number in size_of(arguments).batches:
            found = in_own_process(__file__, f"drafting:{precision}:{number}", arguments)
            results[f"drafting, batch {number}, {precision}"] = found
            title = f"Drafting, batch {number}, {precision}: CPU-seconds per study"
            sections.append((title, bars_of(found, per_study=True)))
        found = in_own_process(__file__, f"training:{precision}:0", arguments)
        results[f"training step, {precision}"] = found
        title = f"Training step of {found['num_studies']} studies, {precision}: CPU-seconds"
        sections.append((title, bars_of(found, per_study=False)))
    for name, found in results.items():
        speed = found["speed"]
        print(
            f"{name}: machine then {speed['gemm_gflops']} GFLOP/s matrix product, {speed['conv_gflops']} convolution, "
            f"{speed['read_gb_per_s']} GB/s; peak {found['peak_mb']} MB"
        )
    for title, rows in sections:
        print(f"\n{show(title, rows)}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        from radwright.runs.provenance import provenance

        origin = provenance()
        whole = json.dumps({"provenance": origin, **results}, indent=1)
        (arguments.out / "floors.json").write_text(whole + "\n", encoding="utf-8")
        notes = [origin["machine"], f"commit {origin['commit']}", f"{arguments.threads} thread(s)"]
        write_bars(arguments.out / "index.html", "Where the time goes", notes, sections)
        print(f"\n{arguments.out / 'index.html'}", file=sys.stderr)


if __name__ == "__main__":
    main()
