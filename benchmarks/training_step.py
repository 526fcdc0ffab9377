"""CPU-seconds and memory of one training step at the published size: forward, backward, AdamW; fp32, 4 studies.

Run ``python benchmarks/training_step.py --threads 1 --json``. Two views and 60 tokens a study, dropout on.
``floors.py`` says where they go.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from published_size import build, cpu_seconds, in_own_process, make_batch, parse, peak_mb, size_of, summary


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU-seconds of a step, and the peak memory of all steps."""
    from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
    from radwright.training.optim import OptimizerConfig, make_optimizer

    size = size_of(arguments)
    objective = TeacherForcing(build(size).train(), TeacherForcingConfig())
    optimizer = make_optimizer(objective, OptimizerConfig())
    batch = make_batch(size, size.num_training_studies)
    count = objective.counts(batch)["report"]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (objective(batch)["report"] / count).backward()
        optimizer.step()

    return summary(cpu_seconds(step, rounds=arguments.rounds)) | {"peak_mb": peak_mb()}


def main() -> None:
    arguments = parse(__doc__)
    if arguments.part is not None:
        import torch

        torch.set_num_threads(arguments.threads)
        print(json.dumps(measure(arguments)))
        return
    found = in_own_process(__file__, "whole", arguments)
    if arguments.json:
        print(json.dumps({"cpu_s_per_step": found["median"], "peak_mb": found["peak_mb"]}))
    else:
        print(f"step: {found['median']} CPU-s (least {found['minimum']}), peak {found['peak_mb']} MB")


if __name__ == "__main__":
    main()
