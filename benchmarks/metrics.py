"""What scoring costs: CPU-seconds of every metric's rows, of the statistics and of the constants, and the peak memory.

OMP_NUM_THREADS=1 python benchmarks/metrics.py
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from radwright.evaluation.baselines import choose_constants
from radwright.evaluation.bootstrap import Resamples, paired_differences, score_with_intervals
from radwright.evaluation.learned.supply import WITHOUT_WEIGHTS
from radwright.evaluation.significance import randomisation_p_values
from radwright.metrics.base import FloatArray, Metric
from radwright.tables import METRICS, resolve

GOAL = ("bleu", "rouge_l", "cider", "meteor15_es")
NUM_STUDIES, NUM_WORDS, NUM_COLUMNS = 3858, 60, 150
SENTENCES = (
    "the heart is {} in size",
    "the lungs are {}",
    "there is {} pleural effusion",
    "no {} pneumothorax is seen",
    "the mediastinal contours are {}",
    "{} degenerative changes of the spine are noted",
    "there is {} lower lobe opacity which may represent atelectasis or pneumonia",
    "no acute {} abnormality",
    "a right sided central line tip is in the {}",
    "pulmonary vascularity is {} with interval change of {} airspace disease",
)
NUM_FILLERS = 400


class Wide:
    """Scores of many summed columns, beside the metrics of the table: 150 columns in all."""

    reads_as_written = False
    variant = "benchmark"

    def __init__(self, num_columns: int) -> None:
        self.names = tuple(f"score_{number}" for number in range(num_columns))
        self.higher_is_better = (True,) * num_columns

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        seed = zlib.crc32("\n".join(hypotheses).encode())
        return np.random.default_rng(seed).random((len(hypotheses), len(self.names)))

    def scores(self, sums: FloatArray) -> FloatArray:
        return sums


def write_texts(count: int, seed: int) -> list[str]:
    """Reports of exactly 60 words: common phrases around words that are the rarer the later they come in the list."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        words: list[str] = []
        while len(words) < NUM_WORDS:
            fillers = [f"word{int(NUM_FILLERS ** draw.random())}" for _ in range(2)]
            words += [*draw.choice(SENTENCES).format(*fillers).split(), "."]
        texts.append(" ".join(words[:NUM_WORDS]))
    return texts


def measure(name: str, action: Callable[[], Any], rounds: int) -> tuple[Any, float]:
    """What ``action`` gives and the least CPU-seconds of ``rounds``, which are printed beside the peak so far."""
    best = float("inf")
    for _ in range(rounds):
        start_s = time.process_time()
        result = action()
        best = min(best, time.process_time() - start_s)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:58} {best:7.3f} CPU-s   peak {peak_mb:4.0f} MB")
    return result, best


def measure_rows(drafts: list[str], references: list[str], rounds: int) -> None:
    targets = [[text] for text in references]
    total = 0.0
    for name in [*GOAL, *(name for name in WITHOUT_WEIGHTS if name not in GOAL)]:
        metric = resolve(METRICS, name, kind="metric")()
        _, seconds = measure(f"rows: {name}", partial(metric.rows, drafts, targets), rounds)
        total += seconds if name in GOAL else 0.0
        if name == GOAL[-1]:
            print(f"{'rows: these four (goal: 3 CPU-s, peak 500 MB)':58} {total:7.3f} CPU-s")


def measure_statistics(systems: Sequence[list[str]], references: list[str], rounds: int) -> None:
    """Intervals, differences and p of as many columns as all the metrics may come to have."""
    targets = [[text] for text in references]
    metrics: list[Metric] = [resolve(METRICS, name, kind="metric")() for name in WITHOUT_WEIGHTS]
    used = sum(metric.rows(systems[0][:1], targets[:1]).shape[1] for metric in metrics)
    metrics.append(Wide(max(0, NUM_COLUMNS - used)))
    own, theirs = ([metric.rows(drafts, targets) for metric in metrics] for drafts in systems)
    print(f"{len(references)} studies, {max(used, NUM_COLUMNS)} columns")
    counts, _ = measure(
        "1,000 resamples: drawing", lambda: Resamples.draw(len(own[0]), num_resamples=1000, seed=0), rounds
    )
    measure(
        "1,000 resamples: intervals of one system",
        lambda: [score_with_intervals(metric, rows, counts) for metric, rows in zip(metrics, own, strict=True)],
        rounds,
    )
    measure(
        "1,000 resamples: paired differences",
        lambda: [paired_differences(*each, counts) for each in zip(metrics, own, theirs, strict=True)],
        rounds,
    )
    measure(
        "10,000 random swaps: p of every difference",
        lambda: randomisation_p_values(metrics, own, theirs, seed=0),
        rounds,
    )


def measure_constants(texts: list[str], rounds: int) -> None:
    print(f"{len(texts)} reports to choose constants on")
    measure("constants: chosen", lambda: choose_constants(texts, texts, seed=0), rounds)
    with tempfile.TemporaryDirectory() as folder:
        remembered = partial(choose_constants, texts, texts, seed=0, cache_folder=Path(folder))
        remembered()
        measure("constants: remembered", remembered, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    drafts, others, references = (write_texts(NUM_STUDIES, seed) for seed in range(3))
    print(f"{NUM_STUDIES} pairs of {NUM_WORDS} words, one core, least of {rounds} rounds")
    measure_rows(drafts, references, rounds)
    measure_statistics((drafts[:590], others[:590]), references[:590], rounds)
    measure_constants(references[:2000], rounds)


if __name__ == "__main__":
    main()
