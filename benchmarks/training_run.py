"""How much of a device's own training rate does a whole run reach, from a prepared store through loader and trainer?

Run ``python benchmarks/training_run.py`` (a GPU: two minutes; ``--tiny`` on a CPU only shows that it runs). Studies of
two JPEG views, the published size, augmented, both stages of CMCRL; beside each way to feed them the same trainer with
batches at hand. Loader alone: how fast batches come when nothing takes time with them. Rates are medians over steps,
the first ones left out; a run's images are in the loader's cache before it begins, unless it decodes each time; its
epochs are as short as IU X-Ray's, so what an epoch's end and beginning cost is in the means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Generator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import machine, machine_line
from PIL import Image
from published_size import PUBLISHED, TINY, Size, table

from data import eight_bits, encoded, view
from radwright.data.loading import AugmentationConfig, BatchLoader, LoadingConfig
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.writing import StoreWriter
from radwright.imaging.config import ImageConfig
from radwright.methods.cmcrl.pretraining import RadCareObjective, RadCareObjectiveConfig
from radwright.methods.cmcrl.radcare import RadCare, RadCareConfig
from radwright.methods.cmcrl.vlci import Vlci, VlciConfig
from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
from radwright.text.words import WordTokenizer
from radwright.training.config import TrainConfig
from radwright.training.engine import Engine
from radwright.training.hooks import Hook
from radwright.training.loop import Trainer
from radwright.types import Batch, ImageInMemory, Study, View

NUM_PICTURES = 16
STAGES = (("report", 16), ("report", 64), ("radcare", 64))
"""Stage and studies of a step."""


class Clock(Hook):
    """When each step ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def step(self, *_: Any) -> None:
        self.ended.append(time.perf_counter())


class AtHand:
    """The same batch, over and over."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps_per_epoch = batch, steps

    def steps(self, epoch: int, start_step: int = 0) -> Generator[list[Batch], None, None]:
        for _ in range(start_step, self.steps_per_epoch):
            yield [self.batch]


def sentences(size: Size) -> list[str]:
    """As many words as the network knows, in reports of full length."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"w{letters[n // 676]}{letters[n // 26 % 26]}{letters[n % 26]}" for n in range(size.num_words)]
    length = size.num_tokens - 3
    return [" ".join(words[start : start + length]) + "." for start in range(0, len(words), length)]


def make_store(folder: Path, num_studies: int, side: int, reports: Sequence[str]) -> PreparedStore:
    """Studies of two views; a handful of pictures, each as often as it takes."""
    folder.mkdir()
    (folder / HEADER).write_text(json.dumps({"version": STORE_VERSION, "complete": True}) + "\n", encoding="utf-8")
    pictures = [encoded(Image.fromarray(eight_bits(view(side, n))), "JPEG", quality=90) for n in range(NUM_PICTURES)]
    with StoreWriter(folder) as writer:
        for number in range(num_studies):
            views = [View(ImageInMemory("view.jpg", pictures[(2 * number + place) % 16])) for place in range(2)]
            report = {"findings": reports[number % len(reports)]}
            writer.add(study_row(Study(f"s{number}", tuple(views), "", "train", report)))
    return PreparedStore(folder)


def make_objective(stage: str, size: Size, tokenizer: WordTokenizer) -> torch.nn.Module:
    """A stage's objective with random weights."""
    torch.manual_seed(0)
    if stage == "report":
        vlci = Vlci(VlciConfig.parse(size.network, where="benchmark"), tokenizer, size.size_px)
        return TeacherForcing(vlci, TeacherForcingConfig())
    shared = {key: value for key, value in size.network.items() if key != "linguistic_hidden_dim"}
    radcare = RadCare(RadCareConfig.parse(shared, where="benchmark"), tokenizer, size.size_px)
    return RadCareObjective(radcare, RadCareObjectiveConfig())


def run(
    objective: torch.nn.Module, batches: Any, num_studies: int, steps: int, config: dict[str, Any]
) -> dict[str, float]:
    """Train for some steps; studies per second of the median step, and over all of them."""
    plain = {"batch_size": num_studies, "max_steps": steps, "validate_every_steps": steps, **config}
    train = TrainConfig.parse(plain, where="benchmark")
    engine, clock = Engine(train.engine), Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            train,
            objective,
            batches,
            engine=engine,
            run_dir=Path(folder),
            validate=None,
            save_best=lambda *_: None,
            hooks=[clock],
        )
        trainer.fit()
    first = min(5, steps // 2)
    ended = clock.ended[first:]
    taken = [later - earlier for earlier, later in pairwise(ended)]
    # An epoch's last step holds what is left.
    per_epoch, left = batches.steps_per_epoch, len(getattr(batches, "indices", ())) % num_studies or num_studies
    sizes = [left if (step + 1) % per_epoch == 0 else num_studies for step in range(first + 1, steps)]
    return {
        "studies_per_s": num_studies / statistics.median(taken),
        "mean_studies_per_s": sum(sizes) / (ended[-1] - ended[0]),
    }


def alone(batches: BatchLoader, epochs: int) -> float:
    """Studies per second of a loader that nobody waits for, after an epoch that fills its cache."""
    for _ in batches.steps(0):
        pass
    started = time.perf_counter()
    for epoch in range(1, 1 + epochs):
        for _ in batches.steps(epoch):
            pass
    return epochs * len(batches.indices) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1874, help="of an epoch; IU X-Ray's by default")
    parser.add_argument("--side", type=int, default=512, help="pixels of a view's side")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 4, 8])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--stage", choices=[f"{name}-{number}" for name, number in STAGES], nargs="*")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on the CPU")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    size = TINY if arguments.tiny else PUBLISHED
    engine = {"precision": arguments.precision, "accelerator": "cuda"}
    studies, side, steps = arguments.studies, arguments.side, arguments.steps
    if arguments.tiny:
        engine, studies, side, steps = {"accelerator": "cpu"}, 32, 64, 6
    config = {"engine": engine}
    reports = sentences(size)
    tokenizer = WordTokenizer.build(reports, min_count=1)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as text:
        store = make_store(Path(text) / "store", studies, side, reports)

        def loader(batch: int, **loading: Any) -> BatchLoader:
            image, how = ImageConfig(size_px=size.size_px), LoadingConfig(max_tokens=size.num_tokens, **loading)
            change = AugmentationConfig()
            return BatchLoader(
                store, range(studies), image, how, tokenizer=tokenizer, augmentation=change, batch_size=batch
            )

        for stage, number in STAGES:
            if arguments.stage and f"{stage}-{number}" not in arguments.stage:
                continue
            batch_size = 4 if arguments.tiny else number

            def add(way: str, rates: dict[str, float], stage: str = stage, number: int = batch_size) -> None:
                found.append({"stage": stage, "studies": number, "way": way, **rates})
                print(json.dumps(found[-1]), flush=True)

            at_hand = AtHand(next(loader(batch_size, workers=0).steps(0))[0], steps)
            add("at hand", run(make_objective(stage, size, tokenizer), at_hand, batch_size, steps, config))
            for workers in arguments.workers:
                batches = loader(batch_size, workers=workers)
                add(f"loader alone, {workers} workers", {"mean_studies_per_s": alone(batches, 2)})
                rates = run(make_objective(stage, size, tokenizer), batches, batch_size, steps, config)
                add(f"run, {workers} workers", rates)
            workers = max(arguments.workers)
            batches = loader(batch_size, workers=workers, cache_mb=0)
            rates = run(make_objective(stage, size, tokenizer), batches, batch_size, steps, config)
            add(f"run, {workers} workers, decoding each time", rates)
    if arguments.json:
        print(json.dumps({"machine": machine(), "side": side, "ways": found}))
        return
    rows: list[tuple[str, ...]] = [("stage", "studies", "way", "studies/s, median", "mean")]
    for each in found:
        median = f"{each['studies_per_s']:.0f}" if "studies_per_s" in each else ""
        rows.append((each["stage"], str(each["studies"]), each["way"], median, f"{each['mean_studies_per_s']:.0f}"))
    print(f"{machine_line(machine())}\n{table(rows)}")


if __name__ == "__main__":
    main()
