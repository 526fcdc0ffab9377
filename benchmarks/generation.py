"""CPU-seconds and memory of drafting at the published size: images to reports, beam 3, 60 tokens, no early stop.

Run ``python benchmarks/generation.py --threads 1 --json``. Decoding of image files is not part. CPU-seconds are the
process's own; each comes from a process that does nothing else. Without ``--json``: every phase beside its floor.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from published_size import (
    BOS,
    EOS,
    NEVER,
    build,
    cpu_seconds,
    in_own_process,
    machine_speed,
    make_batch,
    parse,
    peak_mb,
    size_of,
    summary,
    table,
)


def measure(arguments: argparse.Namespace, num_studies: int) -> dict[str, Any]:
    """CPU-seconds per study and peak memory of drafting batches of ``num_studies``."""
    from radwright.decoding.config import Beam, DecodingConfig
    from radwright.decoding.generate import generate

    size = size_of(arguments)
    model, batch = build(size).eval(), make_batch(size, num_studies)
    # EOS only at the last token: every study takes all steps with three live beams.
    config = DecodingConfig(
        strategy=Beam(num_beams=3, early_stop=False), max_tokens=size.num_tokens, min_tokens=size.num_tokens
    )

    def draft() -> None:
        reports = generate(model, batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=NEVER)
        assert all(len(report.token_ids) + report.finished == size.num_tokens for report in reports)

    rounds = arguments.rounds if num_studies == 1 else max(2, arguments.rounds // 2)
    taken = cpu_seconds(draft, rounds=rounds, warm_up=2 if num_studies == 1 else 1)
    return summary(taken, num_studies) | {"peak_mb": peak_mb()}


def measure_phases(arguments: argparse.Namespace, num_studies: int) -> dict[str, Any]:
    """Where the time of one batch goes, and what the machine reaches."""
    from phases import decoder_traffic_gb, no_grad, phases

    from radwright.decoding.config import Beam, DecodingConfig
    from radwright.decoding.generate import generate

    size = size_of(arguments)
    model, batch = build(size).eval(), make_batch(size, num_studies)
    config = DecodingConfig(
        strategy=Beam(num_beams=3, early_stop=False), max_tokens=size.num_tokens, min_tokens=size.num_tokens
    )

    class Encoded:
        """The model, started from studies that are encoded already."""

        step, reorder = staticmethod(model.step), staticmethod(model.reorder)

        def __init__(self, encoded: Any) -> None:
            self.start = lambda batch: model.start_from(encoded)

    def decode(encoded: Any) -> None:
        generate(Encoded(encoded), batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=NEVER)

    speed = machine_speed()
    found = phases(model, no_grad(lambda: model.encode(batch)), decode, 5 if num_studies == 1 else 2)
    found["decoder"]["read_gb"] = decoder_traffic_gb(model, num_studies, size.num_tokens)
    return {"speed": speed, "phases": found, "num_studies": num_studies}


def show(result: dict[str, Any]) -> str:
    """A batch's phases as a table, per study."""
    speed, studies = result["speed"], result["num_studies"]
    rows: list[tuple[str, ...]] = [("phase", "GFLOP", "CPU-s", "floor", "times the floor", "GFLOP/s")]
    whole = {"gflop": 0.0, "cpu_s": 0.0, "floor": 0.0}
    for phase, found in result["phases"].items():
        rate = speed["conv_gflops" if phase == "stem" else "gemm_gflops"]
        floor = max(found["gflop"] / rate, found["read_gb"] / speed["read_gb_per_s"])
        for key, value in (("gflop", found["gflop"]), ("cpu_s", found["cpu_s"]), ("floor", floor)):
            whole[key] += value
        rows.append(_row(phase, found["gflop"], found["cpu_s"], floor, studies))
    rows.append(_row("sum", whole["gflop"], whole["cpu_s"], whole["floor"], studies))
    return f"batch {studies}, per study (least of several)\n{table(rows)}"


def _row(phase: str, gflop: float, cpu_s: float, floor: float, studies: int) -> tuple[str, ...]:
    rate = gflop / cpu_s
    return (
        phase,
        f"{gflop / studies:.2f}",
        f"{cpu_s / studies:.3f}",
        f"{floor / studies:.3f}",
        f"{cpu_s / floor:.2f}",
        f"{rate:.0f}",
    )


def main() -> None:
    arguments = parse(__doc__)
    small, large = size_of(arguments).batches
    if arguments.part is not None:
        import torch

        torch.set_num_threads(arguments.threads)
        what, _, number = arguments.part.partition(":")
        print(json.dumps((measure_phases if what == "phases" else measure)(arguments, int(number))))
        return
    one = in_own_process(__file__, f"whole:{small}", arguments)
    many = in_own_process(__file__, f"whole:{large}", arguments)
    if arguments.json:
        result = {"cpu_s_per_study_batch1": one["median"], "cpu_s_per_study_batch16": many["median"]}
        print(json.dumps(result | {"peak_mb_batch1": one["peak_mb"]}))
        return
    for number, found in ((small, one), (large, many)):
        print(
            f"batch {number}: {found['median']} CPU-s per study (least {found['minimum']}), peak {found['peak_mb']} MB"
        )
    for number in (small, large):
        found = in_own_process(__file__, f"phases:{number}", arguments)
        speed = found["speed"]
        print(f"\n{show(found)}")
        print(
            f"machine then, {arguments.threads} thread(s): {speed['gemm_gflops']} GFLOP/s matrix product, "
            f"{speed['conv_gflops']} convolution, {speed['read_gb_per_s']} GB/s"
        )


if __name__ == "__main__":
    main()
