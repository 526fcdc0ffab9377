"""Throughput and waiting time of ``radwright serve`` under load: clients that upload a study and wait for its draft.

    python benchmarks/serving.py CHECKPOINT --clients 64 --seconds 120 --compare
    python benchmarks/serving.py --published --clients 16 --seconds 300 --compare

The server runs as a process with one thread for its network; the clients are one other process, on the same machine.
Every upload is a phantom study of two views whose bytes nobody has sent before. ``--compare`` measures ``--max-batch``
1 and 16 one after the other. ``--published`` serves VLCI at the published size (ResNet-101, 224 px, beam of 3, 60
words) with random weights. A client that is answered 429 waits as long as it is told to, and up to half as long again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from serving_load import Load, Measured, images_of, measure


def published_checkpoint(folder: Path) -> Path:
    """A checkpoint of the published size with random weights: it writes nonsense, always 60 words long."""
    import torch
    from published_size import PUBLISHED

    from radwright.decoding.config import DecodingConfig
    from radwright.imaging.config import ImageConfig
    from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
    from radwright.text.words import WordTokenizer

    torch.manual_seed(0)
    tokenizer = WordTokenizer.build([f"word{number}" for number in range(PUBLISHED.num_words)], min_count=1)
    config = CheckpointConfig(
        method="vlci",
        model=PUBLISHED.network,
        image=ImageConfig(size_px=PUBLISHED.size_px),
        decoding=DecodingConfig.parse(
            {"strategy": {"kind": "beam", "num_beams": 3}, "max_tokens": 60, "min_tokens": 59}, where="benchmark"
        ),
    )
    model = build_model(config.method, config.model, tokenizer, config.image)
    path = folder / "published" / "best"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, config, model, tokenizer, {"data": "none: random weights"})
    return path


def row(label: str, found: Measured) -> str:
    def times(seconds: tuple[float, ...]) -> str:
        return " / ".join(f"{each:.2f}" for each in seconds)

    spent, peak = found.cpu_s_per_draft, found.peak_mb
    cells = [
        label,
        f"{found.drafts_per_s:.2f}",
        times(found.draft_s),
        times(found.upload_s),
        f"{found.refused_share:.1%}",
        f"{found.mean_batch:.1f}",
        f"{spent['server']:.3f} + {spent['inspectors']:.3f} + {spent['clients']:.3f}",
        f"{peak['server']:.0f} + {peak['inspectors']:.0f}",
        ", ".join(f"{num} x {status}" for status, num in sorted(found.statuses.items())),
    ]
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| server | drafts/s | draft, s (p50 / p95 / max) | upload, s (p50 / p95 / max) | 429 | mean batch "
    "| CPU-s per draft (server + inspection + clients) | peak MiB (server + inspection) | answers to uploads |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--published", action="store_true", help="a network of the published size, random weights")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120, help="measured time of each server")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds that do not count")
    parser.add_argument("--compare", action="store_true", help="--max-batch 1 against 16")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--size-px", type=int, default=128, help="of the uploaded views")
    parser.add_argument("--dicom", action="store_true", help="upload DICOM instead of PNG")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for radwright serve")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--profile", type=Path, help="cProfile of the server's threads into this folder")
    arguments = parser.parse_args()
    if (arguments.checkpoint is None) != arguments.published:
        parser.error("give a checkpoint, or --published")
    found: dict[int, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = published_checkpoint(Path(folder)) if arguments.published else arguments.checkpoint
        load = Load(
            checkpoint=checkpoint,
            clients=arguments.clients,
            seconds=arguments.seconds,
            warm_up_s=arguments.warm_up,
            images=images_of(40, arguments.size_px, as_dicom=arguments.dicom),
            suffix=".dcm" if arguments.dicom else ".png",
            settings=tuple(arguments.set),
            profile=arguments.profile,
        )
        for max_batch in (1, 16) if arguments.compare else (arguments.max_batch,):
            found[max_batch] = asyncio.run(measure(load, max_batch, Path(folder) / f"room{max_batch}"))
    print(HEAD)
    for max_batch, each in found.items():
        print(row(f"--max-batch {max_batch}", each))
    for max_batch, each in found.items():
        print(
            f"\nbatches of at most {max_batch}: " + ", ".join(f"{num} of {size}" for size, num in each.batches.items())
        )
        print(
            f"network busy for {each.network_share:.0%} of the time; {each.network_s_per_draft * 1000:.1f} ms a draft"
        )
    if arguments.compare:
        ratio = found[16].drafts_per_s / found[1].drafts_per_s
        print(f"\nbatches of 16 give {ratio:.2f} times the drafts of one at a time")
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps({str(name): asdict(each) for name, each in found.items()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
