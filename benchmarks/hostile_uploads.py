"""How long the reading room takes to refuse some four hundred hostile requests, and how much memory that costs.

    python benchmarks/hostile_uploads.py [--json]

The server has one process that looks at images, as in tests/serving/test_hostile_uploads.py, and a stand-in for the
network. Requests that drip or fall silent are answered after the server's patience (1 s here) by design: they stand
apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "serving")]

import hostile_images  # noqa: E402
from hostile_requests import Case, all_cases, ask, part, upload  # noqa: E402
from hostile_server import inspectors, memory_mb, serving  # noqa: E402

SILENT = 408


def measure() -> dict[str, Any]:
    cases, taken = all_cases(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), memory_mb=2048, max_upload_mb=16, body_timeout_s=1) as (port, process_id),
    ):
        for _, data in hostile_images.good():
            ask(port, Case("good", "", (upload(part(data)),)))
        before_mb, looking_mb = memory_mb(process_id, "VmHWM"), 0.0
        for case in cases:
            taken.append((ask(port, case), case))
            looking_mb = max([looking_mb, *(memory_mb(each, "VmHWM") for each in inspectors(process_id))])
        after_mb = memory_mb(process_id, "VmHWM")
    seconds = sorted(answer.seconds for answer, _ in taken if answer.status != SILENT)
    slowest = sorted(taken, key=lambda pair: -pair[0].seconds)
    return {
        "requests": len(taken),
        "statuses": dict(sorted(Counter(answer.status for answer, _ in taken).items())),
        "wrong": [f"{case.family}: {case.name}" for answer, case in taken if answer.status not in case.right],
        "median_s": round(statistics.median(seconds), 4),
        "p95_s": round(seconds[int(0.95 * len(seconds))], 4),
        "max_s": round(seconds[-1], 4),
        "server_peak_mb": {"before": round(before_mb), "after": round(after_mb)},
        "inspector_peak_mb": round(looking_mb),
        "slowest": [
            {"family": case.family, "name": case.name, "status": answer.status, "s": round(answer.seconds, 3)}
            for answer, case in slowest
            if answer.status != SILENT
        ][:10],
        "after_silence": sum(answer.status == SILENT for answer, _ in taken),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments, found = parser.parse_args(), measure()
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['requests']} requests; by status (0: the client went): {found['statuses']}")
    print(f"wrongly answered: {found['wrong'] or 'none'}")
    print(f"median {found['median_s']} s, p95 {found['p95_s']} s, longest {found['max_s']} s")
    print(f"{found['after_silence']} more were answered {SILENT} after a second of silence")
    peak = found["server_peak_mb"]
    print(f"peak memory: server {peak['before']} -> {peak['after']} MiB, inspecting {found['inspector_peak_mb']} MiB\n")
    print("| slowest | status | s |\n|---|---|---|")
    for row in found["slowest"]:
        print(f"| {row['family']}: {row['name']} | {row['status']} | {row['s']} |")


if __name__ == "__main__":
    main()
