"""CPU-seconds and memory of one training step at the published size: forward, backward, AdamW; fp32, 4 studies.

Run ``python benchmarks/training_step.py --threads 1 --json``. Two views and 60 tokens a study, dropout on.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from published_size import build, in_own_process, machine_speed, make_batch, parse, peak_mb, size_of, summary, table

PARTS = ("forward", "backward", "optimiser")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU-seconds of a step and of its parts, and the peak memory of all steps."""
    from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
    from radwright.training.optim import OptimizerConfig, make_optimizer

    size = size_of(arguments)
    objective = TeacherForcing(build(size).train(), TeacherForcingConfig())
    optimizer = make_optimizer(objective, OptimizerConfig())
    batch = make_batch(size, size.num_training_studies)
    count = objective.counts(batch)["report"]

    def step() -> list[float]:
        marks = [time.process_time()]
        optimizer.zero_grad(set_to_none=True)
        loss = objective(batch)["report"] / count
        marks.append(time.process_time())
        loss.backward()
        marks.append(time.process_time())
        optimizer.step()
        marks.append(time.process_time())
        return marks

    steps = [step() for _ in range(2 + arguments.rounds)][2:]
    whole = summary([marks[-1] - marks[0] for marks in steps])
    parts = {name: summary([marks[place + 1] - marks[place] for marks in steps]) for place, name in enumerate(PARTS)}
    return whole | {"peak_mb": peak_mb(), "parts": parts}


def measure_floor(arguments: argparse.Namespace) -> dict[str, Any]:
    """GFLOP of the forward and the backward pass, and what the machine reaches."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig

    size = size_of(arguments)
    objective = TeacherForcing(build(size).train(), TeacherForcingConfig())
    batch = make_batch(size, size.num_training_studies)
    speed = machine_speed()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        loss = objective(batch)["report"]
        forward = counter.get_total_flops()
        loss.backward()
    whole = counter.get_total_flops()
    kinds = counter.get_flop_counts()["Global"]
    convolutions = sum(count for kind, count in kinds.items() if "convolution" in str(kind))
    return {
        "speed": speed,
        "gflop": {"forward": forward / 1e9, "backward": (whole - forward) / 1e9, "optimiser": 0.0},
        "convolution_gflop": convolutions / 1e9,
    }


def show(found: dict[str, Any], floor: dict[str, Any]) -> str:
    """The parts of a step beside the floor of its products."""
    speed, gflop = floor["speed"], floor["gflop"]
    rows: list[tuple[str, ...]] = [("part", "GFLOP", "CPU-s", "least", "GFLOP/s")]
    for name, amount in (*gflop.items(), ("step", sum(gflop.values()))):
        part = found if name == "step" else found["parts"][name]
        rate = f"{amount / part['minimum']:.0f}" if amount and part["minimum"] else ""
        rows.append((name, f"{amount:.0f}", f"{part['median']:.2f}", f"{part['minimum']:.2f}", rate))
    convolutions = floor["convolution_gflop"]
    products = sum(gflop.values()) - convolutions
    least = convolutions / speed["conv_gflops"] + products / speed["gemm_gflops"]
    return (
        f"{table(rows)}\nfloor {least:.2f} CPU-s: {convolutions:.0f} GFLOP of convolution at {speed['conv_gflops']} "
        f"GFLOP/s, {products:.0f} of matrix products at {speed['gemm_gflops']} (measured then); "
        f"a step takes {found['minimum'] / least:.2f} times that. Peak {found['peak_mb']} MB"
    )


def main() -> None:
    arguments = parse(__doc__)
    if arguments.part is not None:
        import torch

        torch.set_num_threads(arguments.threads)
        print(json.dumps((measure_floor if arguments.part == "floor" else measure)(arguments)))
        return
    found = in_own_process(__file__, "whole", arguments)
    if arguments.json:
        print(json.dumps({"cpu_s_per_step": found["median"], "peak_mb": found["peak_mb"]}))
    else:
        print(show(found, in_own_process(__file__, "floor", arguments)))


if __name__ == "__main__":
    main()
