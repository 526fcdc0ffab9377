"""Speed of the phantom: two views with masks and report in memory, studies per second on one core.

Run ``OMP_NUM_THREADS=1 python benchmarks/phantom.py --json``. ``studies_per_s`` counts wall-clock time,
``studies_per_cpu_s`` the process's own time, which a busy machine slows less; the stored vessel trees are made before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from radwright.data.phantom import PhantomConfig, generate_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--studies", type=int, default=400, help="studies per round")
    parser.add_argument("--rounds", type=int, default=3, help="the best round counts")
    parser.add_argument("--size-px", type=int, default=128)
    arguments = parser.parse_args()
    config = PhantomConfig(size_px=arguments.size_px)
    for index in range(10):
        generate_study(config, "val", index)
    walls, own = [], []
    for _ in range(arguments.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        for index in range(arguments.studies):
            generate_study(config, "train", index)
        walls.append(time.perf_counter() - wall)
        own.append(time.process_time() - cpu)
    result = {
        "studies_per_s": round(arguments.studies / min(walls), 1),
        "studies_per_cpu_s": round(arguments.studies / min(own), 1),
        "studies": arguments.studies,
        "size_px": arguments.size_px,
        "views": 2,
        "threads": os.environ["OMP_NUM_THREADS"],
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{result['studies_per_s']} studies/s ({result['studies_per_cpu_s']} per second of its own time)")


if __name__ == "__main__":
    main()
