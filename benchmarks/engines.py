"""What ONNX Runtime and torch.compile bring at the published size: CPU-seconds per study of a batch, one thread.

Run ``python benchmarks/engines.py --threads 1``. Images to reports, beam 3, 60 tokens, no early stop, random weights:
each way in a process of its own, on the same studies, with the same decoding. A way's break-even is how many studies
have to be drafted until its preparation (export, compilation) is paid back.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from published_size import (
    BOS,
    EOS,
    NEVER,
    build,
    cpu_seconds,
    in_own_process,
    make_batch,
    peak_mb,
    size_of,
    summary,
    table,
)

WAYS = ("torch", "onnx fp32", "onnx int8", "torch.compile")


def graphs_into(folder: Path, model: Any, batch: Any, *, int8: bool) -> Any:
    """The network on graphs, by the product's own export."""
    from radwright.inference import onnx_export
    from radwright.inference.onnx_backend import OnnxRunner

    files = {}
    for name, graph in model.graphs().items():
        files[name] = folder / f"{name}.onnx"
        onnx_export.write_graph(graph, files[name])
        if int8:
            onnx_export.quantise(graph, files[name], [batch])
    return model.on_graphs(OnnxRunner(files))


def measure(arguments: argparse.Namespace, way: str) -> dict[str, Any]:
    """CPU-seconds per study, preparation and memory of one way."""
    from radwright.decoding.config import Beam, DecodingConfig
    from radwright.decoding.generate import generate

    size = size_of(arguments)
    num_studies = size.batches[1]
    model, batch = build(size).eval(), make_batch(size, num_studies)
    config = DecodingConfig(
        strategy=Beam(num_beams=3, early_stop=False), max_tokens=size.num_tokens, min_tokens=size.num_tokens
    )
    network, started = model, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        if way.startswith("onnx"):
            network = graphs_into(Path(folder), model, batch, int8=way.endswith("int8"))
        elif way == "torch.compile":
            model.compile_stem()

        def draft() -> None:
            generate(network, batch, config, bos_id=BOS, eos_id=EOS, suppressed_ids=NEVER)

        draft()
        prepared = time.process_time() - started
        taken = cpu_seconds(draft, rounds=arguments.rounds, warm_up=0)
    return summary(taken, num_studies) | {"first_s": round(prepared, 1), "peak_mb": peak_mb(), "studies": num_studies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of the measured process")
    parser.add_argument("--rounds", type=int, default=5, help="measured batches, after the first one")
    parser.add_argument("--tiny", action="store_true", help="a toy network: only shows that the benchmark runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        import torch

        torch.set_num_threads(arguments.threads)
        print(json.dumps(measure(arguments, arguments.part)))
        return
    found = {way: in_own_process(__file__, way, arguments) for way in WAYS}
    plain = found["torch"]
    for way, made in found.items():
        made["times_faster"] = round(plain["minimum"] / made["minimum"], 2)
        saved = plain["minimum"] - made["minimum"]
        made["break_even_studies"] = round((made["first_s"] - plain["first_s"]) / saved) if saved > 0 else None
        if way == "torch":
            made["break_even_studies"] = 0
    if arguments.json:
        print(json.dumps(found))
        return
    head = ("", "CPU-s per study", "least", "times as fast", "first batch, CPU-s", "break-even, studies", "peak MB")
    keys = ("median", "minimum", "times_faster", "first_s", "break_even_studies", "peak_mb")
    rows = [(way, *(str(made[key]) for key in keys)) for way, made in found.items()]
    print(table([head, *rows]))


if __name__ == "__main__":
    main()
