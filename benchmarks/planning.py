"""What do a million and a hundred million studies take? Measured rates times the number, with every assumption stated.

Run ``python benchmarks/planning.py`` (two minutes; ``--tiny`` only shows that it runs). Measured here, on one thread:
preparing and decoding studies of two JPEG views, drafting at the published size, what Ray takes to start and per piece,
and the bytes of a study and of a draft. What needs another machine or a longer benchmark is handed in:
``--int8-cpu-s`` (engines.py), ``--gpu-drafts`` and ``--gpu-trained`` (gpu.py), studies per second of one GPU.
Prices are assumptions, not measurements: put in your own.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import machine, machine_line
from PIL import Image
from published_size import table

from data import eight_bits, encoded, view

SIZES = (1_000_000, 100_000_000)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Rates:
    """What one study costs, measured; None where that was not handed in.

    Attributes:
        prepare_cpu_s: loading, checking and storing it.
        decode_cpu_s: its image files to the network's tensors.
        draft_cpu_s: drafting it in float32, tensors to report.
        int8_cpu_s: the same by ONNX Runtime in int8.
        gpu_drafts: studies per second that one GPU drafts.
        gpu_trained: studies per second that one GPU trains on.
        ray_start_s: from the command to the first piece's answer, work aside.
        ray_piece_s: per piece, work aside.
        study_bytes: in a prepared store.
        draft_bytes: in Parquet.
    """

    prepare_cpu_s: float
    decode_cpu_s: float
    draft_cpu_s: float
    int8_cpu_s: float | None
    gpu_drafts: float | None
    gpu_trained: float | None
    ray_start_s: float
    ray_piece_s: float
    study_bytes: float
    draft_bytes: float


@dataclass(frozen=True)
class Assumed:
    """What is not measured.

    Attributes:
        cores: that work on CPU stages.
        gpus: that work on GPU stages.
        core_hour: price.
        gpu_hour: price, without the cores beside it.
        gb_month: price of storage.
        efficiency: share of a core's measured rate that is left when all cores of a machine work at once.
        epochs: of training.
    """

    cores: int
    gpus: int
    core_hour: float
    gpu_hour: float
    gb_month: float
    efficiency: float
    epochs: int


@dataclass(frozen=True)
class Stage:
    """One row of a plan: hours of cores and GPUs, wall-clock hours, price."""

    name: str
    core_hours: float
    gpu_hours: float
    wall_hours: float
    price: float


def plan(rates: Rates, assumed: Assumed, num_studies: int, piece: int) -> list[Stage]:
    """The stages of one job."""
    overhead_h = (rates.ray_start_s + rates.ray_piece_s * num_studies / piece) / 3600

    def on_cores(name: str, cpu_s: float) -> Stage:
        hours = num_studies * cpu_s / assumed.efficiency / 3600
        return Stage(name, hours, 0.0, hours / assumed.cores + overhead_h, hours * assumed.core_hour)

    def on_gpus(name: str, rate: float, passes: int, overhead_h: float) -> Stage:
        """A GPU, and as many cores as decode what it takes."""
        gpu_hours = passes * num_studies / rate / 3600
        hours = passes * num_studies * rates.decode_cpu_s / assumed.efficiency / 3600
        price = gpu_hours * assumed.gpu_hour + hours * assumed.core_hour
        return Stage(name, hours, gpu_hours, gpu_hours / assumed.gpus + overhead_h, price)

    stages = [
        on_cores("prepare", rates.prepare_cpu_s),
        on_cores("draft, CPU float32", rates.decode_cpu_s + rates.draft_cpu_s),
    ]
    if rates.int8_cpu_s is not None:
        stages.append(on_cores("draft, CPU int8", rates.decode_cpu_s + rates.int8_cpu_s))
    if rates.gpu_drafts is not None:
        stages.append(on_gpus("draft, GPU", rates.gpu_drafts, 1, overhead_h))
    if rates.gpu_trained is not None:
        stages.append(on_gpus(f"train, GPU, {assumed.epochs} epochs", rates.gpu_trained, assumed.epochs, 0.0))
    return stages


def cores_per_gpu(rates: Rates, assumed: Assumed) -> dict[str, float]:
    """Cores that decode as fast as one GPU takes studies."""
    wanted = {"draft": rates.gpu_drafts, "train": rates.gpu_trained}
    return {name: rate * rates.decode_cpu_s / assumed.efficiency for name, rate in wanted.items() if rate is not None}


def show(rates: Rates, assumed: Assumed, piece: Callable[[int], int]) -> str:
    """The plans as text."""
    parts = []
    for number in SIZES:
        stored, drafts = number * rates.study_bytes / 1e12, number * rates.draft_bytes / 1e9
        rows = [("stage", "core-hours", "GPU-hours", "hours on the clock", "price")]
        rows += [
            (
                stage.name,
                f"{stage.core_hours:,.0f}",
                f"{stage.gpu_hours:,.1f}" if stage.gpu_hours else "",
                f"{stage.wall_hours:,.1f}",
                f"{stage.price:,.0f}",
            )
            for stage in plan(rates, assumed, number, piece(number))
        ]
        parts.append(
            f"{number:,} studies in {-(-number // piece(number)):,} pieces; store {stored:,.1f} TB "
            f"({1000 * stored * assumed.gb_month:,.0f} a month), drafts {drafts:,.1f} GB\n{table(rows)}"
        )
    told = ", ".join(f"{name} {cores:.0f}" for name, cores in cores_per_gpu(rates, assumed).items())
    if told:
        parts.append(f"cores that must decode beside each GPU: {told}")
    return "\n\n".join(parts)


class Nothing:
    """A worker that does none."""

    def __call__(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        return {"number": piece["number"]}


def measure_ray(num_pieces: int) -> tuple[float, float]:
    """(seconds to the first answer, seconds per further piece) of one worker that does nothing."""
    from radwright.scale.cluster import Cluster, ClusterConfig

    started = time.monotonic()
    with Cluster(ClusterConfig(workers=1), takes_gpus=False) as cluster:
        answers = cluster.run(Nothing, (), [{"number": number} for number in range(num_pieces)])
        next(answers)
        first = time.monotonic()
        num_more = sum(1 for _ in answers)
        return first - started, (time.monotonic() - first) / max(1, num_more)


def cpu_s(work: Callable[[], object]) -> float:
    """CPU-seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure_images(side: int, num_studies: int) -> dict[str, float]:
    """CPU-seconds of preparing and of decoding a study of two JPEG views, and its bytes."""
    from radwright.data.prepare import PrepareConfig, prepare
    from radwright.data.store import PreparedStore
    from radwright.imaging.config import ImageConfig
    from radwright.imaging.tensor import image_tensor

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        files = [encoded(Image.fromarray(eight_bits(view(side, seed))), "JPEG", quality=90) for seed in (0, 1)]
        for number, file in enumerate(files):
            (folder / f"{number}.jpg").write_bytes(file)
        for count in (num_studies, 3 * num_studies):
            with (folder / f"{count}.csv").open("w", newline="", encoding="utf-8") as stream:
                rows = csv.writer(stream)
                rows.writerow(["study_id", "image", "view", "findings"])
                for number in range(count):
                    rows.writerows([[number, f"{n}.jpg", name, "Clear."] for n, name in enumerate(("PA", "L"))])
        # Once for nothing: libraries are loaded, caches are warm.
        prepare(folder / f"{num_studies}.csv", folder / "warm", PrepareConfig(format="table"))
        small, large = (
            cpu_s(lambda c=count: prepare(folder / f"{c}.csv", folder / f"s{c}", PrepareConfig(format="table")))
            for count in (num_studies, 3 * num_studies)
        )
        store = PreparedStore(folder / f"s{num_studies}")
        image = ImageConfig()

        def decode() -> None:
            for study in store:
                for each in study.views:
                    image_tensor(each.image.read(), image, name=each.image.name)

        decode()
        stored = sum(shard.num_bytes for shard in store.shards) / num_studies
        return {
            "prepare_cpu_s": max(0.0, large - small) / (2 * num_studies),
            "decode_cpu_s": cpu_s(decode) / num_studies,
            "study_bytes": stored,
        }


def draft_bytes() -> float:
    """Bytes of a phantom report's row in a file of drafts."""
    from radwright.data.parquet import parquet_bytes
    from radwright.data.phantom import PhantomConfig, generate_study
    from radwright.scale.drafting import DRAFT_COLUMNS

    config = PhantomConfig(size_px=32)
    studies = [generate_study(config, "test", number).study() for number in range(256)]
    rows = [
        {"study_id": s.study_id, "report": s.section("findings"), "score": -1.5, "seconds": 0.1, "num_tokens": 40}
        for s in studies
    ]
    return len(parquet_bytes(rows, DRAFT_COLUMNS)) / len(rows)


def measure(arguments: argparse.Namespace) -> Rates:
    """All rates."""
    import torch

    torch.set_num_threads(1)
    tiny = ["--tiny"] if arguments.tiny else []
    command = [sys.executable, str(HERE / "generation.py"), "--json", "--threads", "1", *tiny]
    drafted = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    start_s, piece_s = measure_ray(4 if arguments.tiny else 100)
    return Rates(
        draft_cpu_s=next(value for name, value in drafted.items() if name == "cpu_s_per_study_batch16"),
        int8_cpu_s=arguments.int8_cpu_s,
        gpu_drafts=arguments.gpu_drafts,
        gpu_trained=arguments.gpu_trained,
        ray_start_s=start_s,
        ray_piece_s=piece_s,
        draft_bytes=draft_bytes(),
        **measure_images(256 if arguments.tiny else arguments.side, 3 if arguments.tiny else 20),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048, help="pixels of a JPEG view's side")
    parser.add_argument("--int8-cpu-s", type=float, help="CPU-seconds of an int8 draft (engines.py)")
    parser.add_argument("--gpu-drafts", type=float, help="studies/s one GPU drafts (gpu.py)")
    parser.add_argument("--gpu-trained", type=float, help="studies/s one GPU trains on (gpu.py)")
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--core-hour", type=float, default=0.05, help="price of a core for an hour: an assumption")
    parser.add_argument("--gpu-hour", type=float, default=3.0, help="price of a GPU for an hour: an assumption")
    parser.add_argument("--gb-month", type=float, default=0.02, help="price of a GB for a month: an assumption")
    parser.add_argument("--efficiency", type=float, default=0.8, help="of a core when all cores work: an assumption")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    assumed = Assumed(**{name: getattr(arguments, name) for name in Assumed.__dataclass_fields__})
    from radwright.scale.pieces import piece_size

    rates, found = measure(arguments), machine()
    if arguments.json:
        plans = {n: [asdict(stage) for stage in plan(rates, assumed, n, piece_size(n))] for n in SIZES}
        print(json.dumps({"machine": found, "rates": asdict(rates), "assumed": asdict(assumed), "plans": plans}))
        return
    print(machine_line(found))
    for name, values in (("measured", rates), ("assumed", assumed)):
        told = ", ".join(f"{key} {value:.4g}" for key, value in asdict(values).items() if value is not None)
        print(f"{name}: {told}")
    print()
    print(show(rates, assumed, piece_size))


if __name__ == "__main__":
    main()
