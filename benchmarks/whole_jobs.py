"""What does ``radwright generate`` draft a second, from a prepared store to files, by itself and by Ray's workers?

Run ``python benchmarks/whole_jobs.py`` (a GPU: five minutes and 5 GB of disk; a CPU: ``--tiny``, which only shows that
it runs). Studies of two JPEG views (1,024 px, quality 90, a handful of pictures repeated), a network of the published
size with random weights, beam 3, 60 tokens, no early stop, bf16 on a GPU. Each job runs twice, on some of the studies
and on all; the rate is that of the rest, so starting does not count. Commands are processes of their own; the drafts of
all ways are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine, machine_line
from PIL import Image
from published_size import PUBLISHED, TINY, table

from data import eight_bits, encoded, view

NUM_PICTURES = 16
REPORT = "The lungs are clear."


def radwright(*words: object) -> float:
    """Run a command; its seconds on the clock."""
    started = time.monotonic()
    command = [sys.executable, "-m", "radwright", *map(str, words)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def make_store(folder: Path, num_studies: int, side: int) -> Path:
    """A prepared store of a frontal and a lateral picture a study."""
    images = folder / "images"
    images.mkdir()
    for number in range(NUM_PICTURES):
        picture = Image.fromarray(eight_bits(view(side, number)))
        (images / f"{number}.jpg").write_bytes(encoded(picture, "JPEG", quality=90))
    half = NUM_PICTURES // 2
    with (images / "studies.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["study_id", "image", "view", "findings"])
        for number in range(num_studies):
            for place, position in enumerate(("PA", "LATERAL")):
                rows.writerow([f"s{number}", f"{half * place + number % half}.jpg", position, REPORT])
    radwright("prepare", images, "--format", "table", "--out", folder / "store", "--workers", os.cpu_count() or 1)
    return folder / "store"


def make_checkpoint(folder: Path, tiny: bool) -> None:
    """A network with random weights that writes reports of full length."""
    import torch

    from radwright.decoding.config import DecodingConfig
    from radwright.imaging.config import ImageConfig
    from radwright.inference.checkpoint import CheckpointConfig, build_model, save_checkpoint
    from radwright.text.words import WordTokenizer

    size = TINY if tiny else PUBLISHED
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"w{letters[n // 676]}{letters[n // 26 % 26]}{letters[n % 26]}" for n in range(size.num_words)]
    tokenizer = WordTokenizer.build([REPORT, " ".join(words)], min_count=1)
    torch.manual_seed(0)
    image = ImageConfig(size_px=size.size_px)
    model = build_model("vlci", size.network, tokenizer, image)
    length = {"min_tokens": size.num_tokens, "max_tokens": size.num_tokens}
    decoding = DecodingConfig.parse(
        {"strategy": {"kind": "beam", "num_beams": 3, "early_stop": False}, **length}, where="benchmark"
    )
    config = CheckpointConfig(method="vlci", model=size.network, image=image, decoding=decoding)
    save_checkpoint(folder, config, model.eval(), tokenizer, {"seed": 0})


def drafts_of(out: Path) -> dict[str, str]:
    """study id -> report of a file or a folder of drafts."""
    from radwright.evaluation.reports import read_reports

    return read_reports(out).reports()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=14336)
    parser.add_argument("--side", type=int, default=1024, help="pixels of a view's side")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--piece", type=int, default=512, help="studies a Ray worker does at a time")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 3], help="Ray workers that share the GPU")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on the CPU")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    num_studies, side, batch, piece = arguments.studies, arguments.side, arguments.batch_size, arguments.piece
    if arguments.tiny:
        num_studies, side, batch, piece = 24, 64, 4, 4
    device = [] if arguments.tiny else ["--device", "cuda", "--precision", "bf16"]
    few, found, drafts = max(1, num_studies // 7), list[dict[str, Any]](), list[dict[str, str]]()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        store = make_store(folder, num_studies, side)
        make_checkpoint(folder / "network", arguments.tiny)
        for workers in (0, *arguments.workers):
            ray = ["--engine", "ray", *(f"--cluster=workers={workers} --cluster=piece_size={piece}".split())]
            shared = (
                [] if arguments.tiny else [f"--cluster=gpus={1 / workers:.2f}", "--cluster=cpus=5"] if workers else []
            )
            seconds = []
            for limit in (few, num_studies):
                out = folder / f"{workers}-{limit}"
                words = ["generate", folder / "network", store, "--limit", limit, "--out", out]
                seconds.append(radwright(*words, "--batch-size", batch, *device, *(ray if workers else []), *shared))
            drafts.append(drafts_of(out))
            rate = (num_studies - few) / max(1e-9, seconds[1] - seconds[0])
            same = sum(drafts[0][study_id] == report for study_id, report in drafts[-1].items())
            found.append({"workers": workers, "seconds": seconds, "studies_per_s": rate, "same": same})
            shutil.rmtree(out, ignore_errors=True)
    if arguments.json:
        print(json.dumps({"machine": machine(), "studies": num_studies, "side": side, "ways": found}))
        return
    print(machine_line(machine()))
    rows = [("way", "studies/s", f"{few} studies, s", f"{num_studies} studies, s", "drafts as by itself")]
    for each in found:
        way = f"Ray, {each['workers']} worker(s)" if each["workers"] else "by itself"
        rows.append((way, f"{each['studies_per_s']:.0f}", *(f"{s:.1f}" for s in each["seconds"]), str(each["same"])))
    print(table(rows))


if __name__ == "__main__":
    main()
