"""What perceived diseases are held against: the labeler's reading of the reports, or a file of labels."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.errors import ScoringError, near
from radwright.findings import VERSION
from radwright.methods.trrg.clue_bank import ClueBank
from radwright.methods.trrg.sentences import report_signature

PRESENT, ABSENT, OPEN = 1, 0, -1
_VALUES = {"": ABSENT, "0": ABSENT, "0.0": ABSENT, "1": PRESENT, "1.0": PRESENT, "-1": OPEN, "-1.0": OPEN}
_MIN_MATCHED = 0.5
_NAMED = 3
_MAX_FIELD = 16 << 20


@dataclass(frozen=True, slots=True)
class ClueLabels:
    """Labels of studies.

    Attributes:
        of_study: study id -> disease -> 1 present, 0 absent, -1 left open; every study has the same diseases.
        not_checkable: disease -> why nothing is known of it.
        source: where they come from, as JSON-able values.
        told: the same in a sentence.
        notes: what a reader of the numbers should know.
    """

    of_study: Mapping[str, Mapping[str, int]]
    not_checkable: Mapping[str, str]
    source: Mapping[str, Any]
    told: str
    notes: tuple[str, ...] = field(default=())


def labels_of_reports(reports: Mapping[str, str], bank: ClueBank) -> ClueLabels:
    """What the built-in labeler reads: asserted is present, denied or not mentioned is absent, open stays open.

    Args:
        reports: study id -> target text; empty ones give no labels.
        bank: the diseases; those with ``finding: null`` are not checkable.
    """
    findings = tuple(disease.finding or "" for disease in bank.diseases)
    of_study = {}
    for study_id, text in reports.items():
        if text.strip():
            said = zip(bank.names, findings, report_signature(text, findings), strict=True)
            of_study[study_id] = {name: status or ABSENT for name, finding, status in said if finding}
    return ClueLabels(
        of_study,
        {disease.name: "it has finding: null in the bank" for disease in bank.diseases if disease.finding is None},
        {"kind": "labeler", "digest": VERSION},
        f"the built-in labeler's reading of the reports (rules {VERSION}); rules make mistakes",
    )


def labels_of_file(path: Path, bank: ClueBank, studies: Mapping[str, str]) -> ClueLabels:
    """Labels of a CSV: a row per study or patient, named in the first column, and columns by disease.

    The first column is held against study ids and patient ids; what names more of the studies counts, study ids first.

    Args:
        path: 1 present, 0 or blank absent, -1 left open.
        bank: the diseases; one without a column is not checkable.
        studies: study id -> patient id ("" where that is not known), of all that are to be labelled.

    Raises:
        ScoringError: the file or a value cannot be used; no disease has a column; under half of the studies have a row.
    """
    content = _read(path)
    rows, columns = _rows(path, content, bank)
    by_study = [study_id for study_id in studies if study_id in rows]
    by_patient = [study_id for study_id, patient_id in studies.items() if patient_id and patient_id in rows]
    key, matched = ("patient_id", by_patient) if len(by_patient) > len(by_study) else ("study_id", by_study)
    if not matched or len(matched) < _MIN_MATCHED * len(studies):
        raise ScoringError(_too_few(path, rows, studies, key, len(matched)))
    of_study = {study_id: rows[studies[study_id] if key == "patient_id" else study_id] for study_id in matched}
    notes = []
    patients = [studies[study_id] for study_id in matched]
    if key == "patient_id" and (shared := len(patients) - len(set(patients))):
        notes.append(f"labels by patient: {shared} studies share a row with another study of their patient")
    source = {
        "kind": "file",
        "file": str(path),
        "digest": hashlib.sha256(content).hexdigest(),
        "matched_by": key,
        "num_matched": len(matched),
        "num_studies": len(studies),
    }
    told = f"{path}, whose first column is the {key} of {len(matched)} of {len(studies)} studies"
    missing = {name: f"{path.name} has no column of its name" for name in bank.names if name not in columns}
    return ClueLabels(of_study, missing, source, told, tuple(notes))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read: {error.strerror or error}; give a CSV of labels") from error


def _rows(path: Path, content: bytes, bank: ClueBank) -> tuple[dict[str, dict[str, int]], list[str]]:
    """First column -> disease -> label, and the diseases that have a column."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoringError(f"{path}: is no UTF-8 text (byte {error.start}); give a CSV of labels") from error
    limit = csv.field_size_limit(_MAX_FIELD)  # of the whole process: given back below
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        places = _places(path, head, bank)
        rows: dict[str, dict[str, int]] = {}
        lines: dict[str, int] = {}
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{path}:{reader.line_num}"
            if len(row) != len(head):
                raise ScoringError(f"{where}: has {len(row)} values, the head has {len(head)} columns")
            name = row[0].strip()
            if not name:
                raise ScoringError(f"{where}: names no study: its first column {head[0]!r} is blank")
            if name in rows:
                raise ScoringError(f"{where}: {name!r} is there already on line {lines[name]}; leave one row per study")
            rows[name] = {disease: _label(row[place], where, disease) for disease, place in places.items()}
            lines[name] = reader.line_num
    except csv.Error as error:
        raise ScoringError(f"{path}:{reader.line_num}: is no line of a table: {error}") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise ScoringError(f"{path}: has no row below its head")
    return rows, list(places)


def _places(path: Path, head: Sequence[str], bank: ClueBank) -> dict[str, int]:
    """Disease -> its column."""
    names = head[1:]
    if twice := next((name for name in names if name in bank.names and names.count(name) > 1), None):
        raise ScoringError(f"{path}: has the column {twice!r} more than once; leave one")
    places = {name: 1 + names.index(name) for name in bank.names if name in names}
    if not places:
        hint = next((f"; {name!r}{found}" for name in names if (found := near(name, bank.names))), "")
        raise ScoringError(
            f"{path}: no column has the name of a disease of the bank ({', '.join(bank.names)}){hint}; "
            f"it has: {', '.join(names) or 'none besides the first'}"
        )
    return places


def _label(cell: str, where: str, disease: str) -> int:
    try:
        return _VALUES[cell.strip()]
    except KeyError:
        raise ScoringError(
            f"{where}: column {disease!r} holds {cell!r}; give 1 (present), 0 or blank (absent) or -1 (left open)"
        ) from None


def _too_few(path: Path, rows: Mapping[str, Any], studies: Mapping[str, str], key: str, num_matched: int) -> str:
    def some(names: Sequence[str]) -> str:
        return ", ".join(repr(name) for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")

    found = f"only {num_matched} of {len(studies)} studies have a row (by {key})" if num_matched else "no row fits"
    without = [name for name in studies if (studies[name] if key == "patient_id" else name) not in rows]
    patients = [studies[name] for name in without if studies[name]]
    also = f", patients {some(patients)}" if patients else ""
    return (
        f"{path}: {found}; its first column has {some(list(rows))}, studies without a row are {some(without)}{also}; "
        "give the file of this dataset, with study_id or patient_id in the first column"
    )
