"""How fast do images become tensors, beside what their codecs take alone, and how fast does a store become batches?

Run ``python benchmarks/data.py``: under two minutes on one core; ``--part decode`` or ``--part load`` for one half.

Decoding: one 2048 x 2048 phantom view with fine noise, in every kind of file, to the network's 224-pixel tensor, on one
thread. *codec* decodes and does nothing else (Pillow; pydicom with gdcm); *plain* is what a short script does, codec,
gray, antialiased resize, all in Pillow; *least* (JPEG) is Pillow's coarsest decode, 1/8 of the size, which still reads
every bit of the stream. Differences are from *plain*, in gray levels of 8 bits.

Loading: a prepared store of such views as JPEG, without a model; *images alone* is the decoding of the same bytes in a
plain loop; *copying* is one copy of the finished batches. The rounds of all ways alternate, and the best counts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from machine import machine, machine_line
from PIL import Image
from published_size import table

from radwright.data.loading import AugmentationConfig, BatchLoader, LoadingConfig
from radwright.data.phantom import PhantomConfig, generate_study
from radwright.data.store import HEADER, STORE_VERSION, PreparedStore, study_row
from radwright.data.transfer import finished
from radwright.data.writing import StoreWriter
from radwright.imaging.config import ImageConfig
from radwright.imaging.pixels import image_pixels
from radwright.imaging.tensor import image_tensor
from radwright.types import ImageInMemory, Study, View

CONFIG = ImageConfig(size_px=224)
NOISE = 2.0
"""Standard deviation of the fine noise in gray levels of 8 bits: a JPEG of quality 95 then has a quarter of a byte per
pixel, as public chest radiographs have."""
Gray = npt.NDArray[np.float64]


def view(side: int, seed: int = 0) -> Gray:
    """A phantom's frontal view, drawn at half of ``side`` pixels and enlarged, 0 to 255, with fine noise."""
    image = generate_study(PhantomConfig(size_px=min(side // 2, 1024)), "val", seed).images["frontal"]
    large = Image.fromarray(image.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large) + np.random.default_rng(seed).normal(0, NOISE, (side, side))


def eight_bits(gray: Gray) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(gray.clip(0, 255)), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pictures(gray: Gray) -> dict[str, bytes]:
    """The view as JPEG and PNG files."""
    small = Image.fromarray(eight_bits(gray))
    deep = Image.fromarray(np.asarray(np.rint(gray.clip(0, 255) / 255 * 4095) * 16, dtype=np.uint16))
    files = {f"JPEG, quality {quality}": encoded(small, "JPEG", quality=quality) for quality in (75, 85, 90, 95)}
    return files | {
        "JPEG, quality 90, colour": encoded(small.convert("RGB"), "JPEG", quality=90),
        "JPEG, quality 90, progressive": encoded(small, "JPEG", quality=90, progressive=True),
        "PNG, 8 bits": encoded(small, "PNG"),
        "PNG, 16 bits": encoded(deep, "PNG"),
    }


def radiographs(gray: Gray, folder: Path) -> dict[str, bytes]:
    """The view as DICOM files with a window, 12 bits."""
    import gdcm
    import pydicom

    pixels = np.asarray(np.rint(gray.clip(0, 255) / 255 * 4095), dtype=np.uint16)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(folder / "raw.dcm", enforce_file_format=True)
    files = {"DICOM, uncompressed": (folder / "raw.dcm").read_bytes()}
    for name, syntax in (
        ("JPEG lossless", "JPEGLosslessProcess14_1"),
        ("JPEG-LS", "JPEGLSLossless"),
        ("JPEG 2000", "JPEG2000Lossless"),
        ("RLE", "RLELossless"),
    ):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(folder / "raw.dcm"))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFileName(str(folder / "changed.dcm"))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        files[f"DICOM, {name}"] = (folder / "changed.dcm").read_bytes()
    return files


def codec(data: bytes) -> npt.NDArray[Any]:
    """The pixels as the codec gives them."""
    if data[128:132] == b"DICM":
        import pydicom

        return np.asarray(pydicom.dcmread(io.BytesIO(data)).pixel_array)
    image = Image.open(io.BytesIO(data))
    image.load()
    return np.asarray(image)


def plain(data: bytes) -> Image.Image:
    """Codec, gray, antialiased resize."""
    size = (CONFIG.size_px, CONFIG.size_px)
    if data[128:132] == b"DICM":
        return Image.fromarray(codec(data).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    image = Image.open(io.BytesIO(data))
    if image.mode == "I;16":
        return Image.fromarray(np.asarray(image).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return image.convert("L").resize(size, Image.Resampling.BILINEAR)


def least(data: bytes) -> None:
    """The least that a JPEG's decoder can do: one value per block."""
    image = Image.open(io.BytesIO(data))
    image.draft("L", (1, 1))
    image.load()


def best(calls: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each call, the least of some rounds in which they alternate."""
    taken: dict[str, float] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            spent = clock() - start
            taken[name] = min(spent, taken.get(name, spent))
    return taken


def measure_decoding(side: int, rounds: int) -> list[dict[str, Any]]:
    """A row per kind of file; milliseconds of CPU time."""
    gray = view(side)
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(gray) | radiographs(gray, Path(folder))
    rows = []
    for name, data in files.items():
        calls: dict[str, Callable[[], object]] = {
            "ours": lambda data=data: image_tensor(data, CONFIG, name="view"),
            "plain": lambda data=data: plain(data),
            "codec": lambda data=data: codec(data),
        }
        if name.startswith("JPEG"):
            calls["least"] = lambda data=data: least(data)
        spent = best(calls, rounds, time.process_time)
        row: dict[str, Any] = {"file": name, "kilobytes": round(len(data) / 1000)}
        row |= {f"{way}_ms": round(1000 * seconds, 2) for way, seconds in spent.items()}
        row |= {"plain_over_ours": round(spent["plain"] / spent["ours"], 2)}
        row |= {"ours_over_codec": round(spent["ours"] / spent["codec"], 2)}
        if not name.startswith("DICOM"):
            ours = image_pixels(data, CONFIG, name="view")
            unit = 1 if ours.dtype == np.uint8 else 257
            apart = np.abs(ours.astype(np.float64) - np.asarray(plain(data))) / unit
            row |= {
                "mean_difference": round(float(apart.mean()), 3),
                "largest_difference": round(float(apart.max()), 2),
            }
        rows.append(row)
    return rows


def make_store(folder: Path, num_studies: int, side: int) -> PreparedStore:
    """Studies of two JPEG views; eight different ones, each as often as it takes."""
    folder.mkdir()
    (folder / HEADER).write_text(json.dumps({"version": STORE_VERSION, "complete": True}) + "\n", encoding="utf-8")
    files = [encoded(Image.fromarray(eight_bits(view(side, seed))), "JPEG", quality=90) for seed in range(8)]
    with StoreWriter(folder) as writer:
        for number in range(num_studies):
            views = [View(ImageInMemory("view.jpg", files[(2 * number + place) % 8])) for place in range(2)]
            writer.add(study_row(Study(f"s{number}", tuple(views), "", "train", {"findings": "No effusion."})))
    return PreparedStore(folder)


def measure_loading(num_studies: int, side: int, rounds: int) -> dict[str, Any]:
    """Studies per second of wall-clock time, each way."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", num_studies, side)
        whole = range(num_studies)

        def loader(augmentation: AugmentationConfig | None = None, **values: Any) -> BatchLoader:
            loading = LoadingConfig(**values)
            return BatchLoader(store, whole, CONFIG, loading, tokenizer=None, augmentation=augmentation, batch_size=16)

        def epoch(batches: BatchLoader) -> None:
            for step in batches.steps(0):
                for batch in step:
                    finished(batch)

        def images_alone() -> None:
            for study in store:
                for each in study.views:
                    image_tensor(each.image.read(), CONFIG, name="view")

        cached, changed = loader(workers=0), loader(AugmentationConfig(), workers=0)
        epoch(cached)
        epoch(changed)
        batches = [finished(step[0]).images_BV1SS for step in cached.steps(0)]
        ways: dict[str, Callable[[], object]] = {
            "images alone": images_alone,
            "loader, 0 workers": lambda: epoch(loader(workers=0, cache_mb=0)),
            "loader, 1 worker": lambda: epoch(loader(workers=1, cache_mb=0)),
            "loader, 2 workers": lambda: epoch(loader(workers=2, cache_mb=0)),
            "loader, cached": lambda: epoch(cached),
            "loader, cached, augmented": lambda: epoch(changed),
            "copying": lambda: [batch.clone() for batch in batches],
        }
        spent = best(ways, rounds, time.perf_counter)
        size = sum(batch.nbytes for batch in batches)
    return {
        "studies": num_studies,
        "studies_per_s": {way: round(num_studies / seconds, 1) for way, seconds in spent.items()},
        "copying_gb_per_s": round(size / spent["copying"] / 1e9, 2),
    }


def show_decoding(rows: list[dict[str, Any]]) -> str:
    columns = ("ours_ms", "plain_ms", "codec_ms", "least_ms", "plain_over_ours", "ours_over_codec")
    head = (
        "file",
        "kB",
        "ours, ms",
        "plain",
        "codec",
        "least",
        "plain / ours",
        "ours / codec",
        "differs, mean",
        "most",
    )
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        cells = [str(row.get(name, "")) for name in (*columns, "mean_difference", "largest_difference")]
        lines.append((row["file"], str(row["kilobytes"]), *cells))
    return table(lines)


def show_loading(found: dict[str, Any]) -> str:
    lines: list[tuple[str, ...]] = [("way", "studies/s")]
    lines += [(way, str(rate)) for way, rate in found["studies_per_s"].items()]
    return f"{table(lines)}\ncopying is {found['copying_gb_per_s']} GB/s of finished batches"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("decode", "load", "both"), default="both")
    parser.add_argument("--side", type=int, default=2048, help="pixels of the files' sides")
    parser.add_argument("--studies", type=int, default=48, help="studies of the store")
    parser.add_argument("--rounds", type=int, default=5, help="the best round counts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    if arguments.part != "load":
        found["decoding"] = measure_decoding(arguments.side, arguments.rounds)
    if arguments.part != "decode":
        found["loading"] = measure_loading(arguments.studies, arguments.side, arguments.rounds)
    if arguments.json:
        print(json.dumps(found))
        return
    parts = [show_decoding(found["decoding"])] if "decoding" in found else []
    parts += [show_loading(found["loading"])] if "loading" in found else []
    print("\n\n".join([*parts, machine_line(found["machine"])]))


if __name__ == "__main__":
    main()
