"""Miniatures of every dataset's layout, written by us: the same six studies for all of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FINDINGS = [
    "The lungs are clear. The heart is of normal size.",
    "A small left effusion is seen. No pneumothorax.",
    "The right base is hazy, which may be atelectasis.",
    "Two old rib fractures on the left. Clear lungs.",
    "The cardiac silhouette is enlarged. No edema.",
    "A port ends at the cavoatrial junction. No focal opacity.",
]


@dataclass
class Miniature:
    """A dataset's place, its options, and how many studies it holds."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    num_studies: int = 6
    limit: int | None = None
    prepared: dict[str, Any] = field(default_factory=dict)
    """What ``prepare`` must be told of it."""


def picture(number: int, kind: str = "PNG", *, depth: int = 8, size: tuple[int, int] = (48, 40)) -> bytes:
    rng = np.random.default_rng(number)
    coarse = rng.integers(30, 220, (6, 5)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).clip(0, 255)
    pixels = smooth.astype(np.uint8) if depth == 8 else (smooth * 257).astype(np.uint16)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def csv_text(rows: Iterable[dict[str, Any]]) -> str:
    rows = list(rows)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def r2gen(folder: Path) -> Miniature:
    """R2Gen's own keys only, two JPEG views per study."""
    records: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for number, report in enumerate(FINDINGS):
        split = ("train", "train", "train", "train", "val", "test")[number]
        study = f"CXR{number + 1}_IM-{number:04d}"
        paths = [f"{study}/{view}.png" for view in (0, 1)]
        for view, path in enumerate(paths):
            write(folder / "images" / path, picture(10 * number + view, "JPEG"))
        records[split].append({"id": study, "report": report, "image_path": paths, "split": split})
    write(folder / "annotation.json", json.dumps(records))
    return Miniature(folder)


def openi(folder: Path) -> Miniature:
    """Open-i's XML, one or two PNG views per report."""
    for number, report in enumerate(FINDINGS):
        names = [f"CXR{number + 1}_1_IM-{number:04d}-{view}001" for view in range(1, 2 + number % 2)]
        images = "".join(f'<parentImage id="{name}"><caption>Chest</caption></parentImage>' for name in names)
        write(
            folder / "ecgen-radiology" / f"{number + 1}.xml",
            f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{number + 1}"/><MedlineCitation><Article>'
            f'<Abstract><AbstractText Label="INDICATION">Cough &amp; fever</AbstractText>'
            f'<AbstractText Label="FINDINGS">{report}</AbstractText>'
            f'<AbstractText Label="IMPRESSION">See above.</AbstractText></Abstract></Article></MedlineCitation>'
            f"{images}</eCitation>",
        )
        for view, name in enumerate(names):
            write(folder / "NLMCXR_png" / f"{name}.png", picture(10 * number + view))
    return Miniature(folder)


def mimic_cxr(folder: Path) -> Miniature:
    """The official layout: six studies of four patients, the last study as DICOM-free JPEG with three views."""
    splits, metadata = [], []
    for number, report in enumerate(FINDINGS):
        subject = 10000032 + (number // 2 if number < 4 else number)
        study = 50000000 + number
        place = folder / "files" / f"p{str(subject)[:2]}" / f"p{subject}"
        text = (
            f" FINAL REPORT\n EXAMINATION:  CHEST\n\n INDICATION:  Cough.\n\n FINDINGS:  {report}\n\n IMPRESSION:\n Ok."
        )
        write(place / f"s{study}.txt", text)
        for view in range(1 + number % 3):
            dicom_id = f"{number}{view}aa-bb"
            write(place / f"s{study}" / f"{dicom_id}.jpg", picture(10 * number + view, "JPEG"))
            split = ("train", "train", "train", "train", "validate", "test")[number]
            ids = {"dicom_id": dicom_id, "study_id": study, "subject_id": subject}
            splits.append({**ids, "split": split})
            metadata.append({**ids, "ViewPosition": ("PA", "LATERAL", "")[view], "Rows": 40})
    (folder / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(csv_text(splits).encode()))
    write(folder / "mimic-cxr-2.0.0-metadata.csv", csv_text(metadata))
    return Miniature(folder)


def table(folder: Path) -> Miniature:
    """A table of our own naming in a zip, 16-bit PNG and JPEG images, two rows for every second study."""
    rows = []
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for number, report in enumerate(FINDINGS):
            for view in range(1 + number % 2):
                name = f"{number}-{view}.{'jpg' if view else 'png'}"
                data = picture(10 * number + view, "JPEG") if view else picture(10 * number, depth=16)
                archive.writestr(f"set/images/{name}", data)
                row = {"file": name, "exam": f"e{number}", "person": f"p{number}", "projection": "L" if view else "AP"}
                rows.append({**row, "text": report})
        archive.writestr("set/rows.csv", csv_text(rows))
    columns = {"image": "file", "study_id": "exam", "patient_id": "person", "view": "projection", "findings": "text"}
    return Miniature(folder / "set.zip", {"columns": columns})


def covid_chestxray(folder: Path) -> Miniature:
    """Five patients, the last one with a frontal and a lateral image of one day, and a slice of tomography."""
    rows = []
    for number in range(8):
        name = f"case-{number}.{'png' if number % 2 else 'jpg'}"
        if number < 7:
            write(folder / "images" / name, picture(number, "PNG" if number % 2 else "JPEG"))
        rows.append(
            {
                "image": name,
                "patientid": min(number // 2 + 1, 3) if number < 5 else 5,
                "offset": 2.0 * number if number < 5 else "",
                "sex": "F",
                "age": "61.0",
                "finding": "No Finding" if number == 0 else "COVID-19",
                "view": ("PA", "AP Supine", "L", "PA", "AP", "PA", "L", "Axial")[number],
                "date": "2020",
            }
        )
    write(folder / "metadata.csv", csv_text(rows))
    return Miniature(folder, prepared={"keep_without_report": True})


def parquet(folder: Path) -> Miniature:
    """Two files in row groups of two: one image, or a list of structs as others write them; numbers for ids."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for part in range(2):
        rows = [
            {
                "study_id": 100 + number,
                "subject": f"p{number}",
                "images": [
                    {"bytes": picture(10 * number + view), "path": f"a/{view}.png"} for view in range(1 + number % 2)
                ],
                "view": ["PA", "LATERAL"][: 1 + number % 2],
                "report": f"FINDINGS: {FINDINGS[number]} IMPRESSION: As above.",
            }
            for number in range(3 * part, 3 * part + 3)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{part}.parquet", row_group_size=2)
    return Miniature(folder, {"columns": {"patient_id": "subject"}})


def phantom(folder: Path) -> Miniature:
    return Miniature(Path("default"), limit=6)


BUILDERS: dict[str, Callable[[Path], Miniature]] = {
    "r2gen": r2gen,
    "openi": openi,
    "mimic-cxr": mimic_cxr,
    "covid-chestxray": covid_chestxray,
    "table": table,
    "parquet": parquet,
    "phantom": phantom,
}


@pytest.fixture
def miniature(tmp_path: Path) -> Callable[[str], Miniature]:
    def build(name: str) -> Miniature:
        folder = tmp_path / "dataset"
        folder.mkdir()
        return BUILDERS[name](folder)

    return build


@pytest.fixture(scope="session")
def picture_bytes() -> Callable[..., bytes]:
    return picture


@pytest.fixture(scope="session")
def write_file() -> Callable[[Path, bytes | str], Path]:
    return write


@pytest.fixture(scope="session")
def as_csv() -> Callable[..., str]:
    return csv_text
