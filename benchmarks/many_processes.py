"""What does a training step cost in several processes of one machine: whole weights (DDP), shared weights (FSDP2)?

Run ``python benchmarks/many_processes.py`` (five minutes, 12 GB of memory): the published network, a step of 4 studies
in micro-batches of 1, dealt to the processes, one thread each. CPU-seconds are summed over the processes, whose waiting
for each other is busy in part, and counts. Memory is each process's peak, and what it holds of its own between two
steps. ``--tiny`` only shows that it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import machine, machine_line
from published_size import build, make_batch, peak_mb, size_of, table

WAYS = ((1, "none"), (2, "none"), (2, "full"))
NUM_STUDIES = 4


def own_mb() -> float:
    """Memory of this process that belongs to no file, in 10^6 bytes (Linux)."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return round((int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def measure(arguments: argparse.Namespace) -> None:
    """One way, in this process and those that it starts; the main one prints what was found."""
    import torch

    from radwright.methods.objectives import TeacherForcing, TeacherForcingConfig
    from radwright.training.engine import Engine, EngineConfig
    from radwright.training.optim import ClipConfig, OptimizerConfig, make_optimizer
    from radwright.training.step import Stepper

    torch.set_num_threads(1)
    num_processes, sharding = json.loads(arguments.part)
    engine = Engine(EngineConfig(accelerator="cpu", processes=num_processes, sharding=sharding))
    size = size_of(arguments)
    objective = TeacherForcing(build(size).train(), TeacherForcingConfig())
    num_weights = sum(weight.numel() for weight in objective.parameters())
    wrapped = engine.wrap(objective)
    optimizer = make_optimizer(objective, OptimizerConfig(), engine.weights.named())
    stepper = Stepper(
        engine, objective, wrapped, optimizer, weights=dict(objective.weights), clip=ClipConfig(norm=1.0), seed=0
    )
    torch.manual_seed(engine.rank)
    micro_batches = [make_batch(size, 1) for _ in range(NUM_STUDIES // engine.num_ranks)]
    cpu, wall, held = list[float](), list[float](), 0.0
    for number in range(2 + arguments.rounds):
        engine.barrier()
        before, started = time.process_time(), time.monotonic()
        plan = stepper.agree(micro_batches)
        stepper.run(number, micro_batches, plan, 1.0)
        # What a step leaves behind: gradients go with the next one.
        wrapped.zero_grad(set_to_none=True)
        optimizer.zero_grad(set_to_none=True)
        if number >= 2:
            cpu.append(time.process_time() - before)
            wall.append(time.monotonic() - started)
            held = own_mb()
    found = engine.gather({"cpu_s": cpu, "peak_mb": peak_mb(), "held_mb": held})
    if engine.is_main:
        steps = [sum(each) for each in zip(*(rank["cpu_s"] for rank in found), strict=True)]
        print(
            json.dumps(
                {
                    "processes": num_processes,
                    "sharding": sharding,
                    "cpu_s": round(statistics.median(steps), 3),
                    "wall_s": round(statistics.median(wall), 3),
                    "peak_mb": max(rank["peak_mb"] for rank in found),
                    "held_mb": max(rank["held_mb"] for rank in found),
                    "weights": num_weights,
                }
            )
        )
    del wrapped, stepper
    engine.close()


def exchanged_mb(found: dict[str, Any]) -> float:
    """What a process sends in a step, in 10^6 bytes: gradients in a ring (twice their share of the others), or weights
    gathered once per micro-batch and gradients spread once.
    """
    ranks, num_bytes = found["processes"], 4 * found["weights"] / 1e6
    if ranks == 1:
        return 0.0
    gathers = NUM_STUDIES // ranks if found["sharding"] == "full" else 0
    share = (ranks - 1) / ranks * num_bytes
    return share * (gathers + 1) if gathers else 2 * share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured steps, after a warm-up of two")
    parser.add_argument("--tiny", action="store_true", help="a toy network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        measure(arguments)
        return
    ways = []
    for way in WAYS:
        command = [sys.executable, str(Path(__file__).resolve()), "--part", json.dumps(way)]
        command += ["--rounds", str(arguments.rounds), *(["--tiny"] if arguments.tiny else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        ways.append(found | {"sent_mb": round(exchanged_mb(found), 1)})
    if arguments.json:
        print(json.dumps({"machine": machine(), "ways": ways}))
        return
    print(machine_line(machine()))
    rows = [("processes", "weights", "CPU-s a step", "s a step", "sent a process, MB", "held, MB", "peak, MB")]
    for each in ways:
        weights = "one" if each["processes"] == 1 else {"none": "whole", "full": "shared"}[each["sharding"]]
        numbers = (f"{each[name]:g}" for name in ("cpu_s", "wall_s", "sent_mb", "held_mb", "peak_mb"))
        rows.append((str(each["processes"]), weights, *numbers))
    print(table(rows))


if __name__ == "__main__":
    main()
