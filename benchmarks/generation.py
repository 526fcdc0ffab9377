"""CPU-seconds and memory of drafting at the published size: images to reports, beam 3, 60 tokens, no early stop.

Run ``python benchmarks/generation.py --threads 1 --json``. Decoding of image files is not part. CPU-seconds are the
process's own; each comes from a process that does nothing else. ``floors.py`` says where they go.
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
    make_batch,
    parse,
    peak_mb,
    size_of,
    summary,
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


def main() -> None:
    arguments = parse(__doc__)
    small, large = size_of(arguments).batches
    if arguments.part is not None:
        import torch

        torch.set_num_threads(arguments.threads)
        print(json.dumps(measure(arguments, int(arguments.part))))
        return
    one = in_own_process(__file__, str(small), arguments)
    many = in_own_process(__file__, str(large), arguments)
    if arguments.json:
        result = {"cpu_s_per_study_batch1": one["median"], "cpu_s_per_study_batch16": many["median"]}
        print(json.dumps(result | {"peak_mb_batch1": one["peak_mb"]}))
        return
    for number, found in ((small, one), (large, many)):
        print(
            f"batch {number}: {found['median']} CPU-s per study (least {found['minimum']}), peak {found['peak_mb']} MB"
        )


if __name__ == "__main__":
    main()
