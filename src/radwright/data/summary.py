"""What a prepared store holds: counts, lengths, duplicate reports; and the reports as rows for scoring."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from radwright.data.reports import Target, report_text
from radwright.data.store import PreparedStore
from radwright.text.cleaning import clean_report
from radwright.types import SPLITS, Study

HALVES = ("image and report", "image only", "report only")
"""What a study can have of its two halves; a report counts where the target's sections say something."""


def report_rows(store: PreparedStore, target: Target) -> Iterator[dict[str, str | None]]:
    """A row per study for ``reports.jsonl``: study_id, split, report (uncleaned), comparison, patient_id."""
    for study in _texts(store):
        yield {
            "study_id": study.study_id,
            "split": study.split,
            "report": report_text(study, target),
            "comparison": study.section("comparison") or None,
            "patient_id": study.patient_id,
        }


def left_out_rows(store: PreparedStore) -> Iterator[dict[str, str]]:
    """A row per image that its study goes without, for ``skipped.jsonl``: study_id, kind, image, reason."""
    for study in _texts(store):
        for image in study.extra.get("views_left_out", ()):
            reason = f"{image}: is marked as known_bad in manifest.csv; the study is kept without it"
            yield {"study_id": study.study_id, "kind": "image left out", "image": image, "reason": reason}


def summarise(store: PreparedStore, target: Target, skipped: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """Counts of a store, without reading its images.

    Args:
        store: complete or not.
        target: what counts as the report.
        skipped: (study_id, kind, reason) of the studies that were left out.

    Returns:
        Plain values: studies, how many of them have both halves or one only, views, how many studies have text written
        into their pixels (by the fact ``burned_in`` of DICOM files), skipped (by kind), and per split
        studies, patients, views, reports' lengths in words, and how many reports occur word for word (after cleaning)
        in train.
    """
    tallies = {name: _Tally() for name in SPLITS}
    left_out = burned_in = 0
    for study, positions in zip(_texts(store), store.positions, strict=True):
        tallies[study.split or "test"].add(study, len(positions), report_text(study, target))
        left_out += len(study.extra.get("views_left_out", ()))
        burned_in += study.extra.get("burned_in") == "YES"
    train = set(tallies["train"].digests)
    positions_of = Counter(position for positions in store.positions for position in positions)
    halves = sum((tally.halves for tally in tallies.values()), Counter[str]())
    return {
        "studies": len(store),
        "halves": {name: halves[name] for name in HALVES},
        "views": sum(positions_of.values()),
        "views_by_position": dict(sorted(positions_of.items())),
        "views_left_out": left_out,
        "burned_in": burned_in,
        "skipped": len(skipped),
        "skipped_by_kind": dict(Counter(kind for _, kind, _ in skipped).most_common()),
        "splits": {name: tally.plain(train, name) for name, tally in tallies.items() if tally.num_studies},
    }


class _Tally:
    """Counts of one split; 8 bytes and an integer are kept per study."""

    def __init__(self) -> None:
        self.num_studies = 0
        self.num_views: Counter[int] = Counter()
        self.halves: Counter[str] = Counter()
        self.patients: set[str] = set()
        self.num_words: list[int] = []
        self.digests: list[bytes] = []

    def add(self, study: Study, num_views: int, report: str) -> None:
        self.num_studies += 1
        self.num_views[num_views] += 1
        self.patients.add(study.patient_id or study.study_id)
        cleaned = clean_report(report)
        self.halves[HALVES[0] if num_views and cleaned else HALVES[1] if num_views else HALVES[2]] += 1
        if cleaned:
            self.num_words.append(sum(word != "." for word in cleaned.split()))
            self.digests.append(hashlib.sha256(cleaned.encode()).digest()[:8])

    def plain(self, train: set[bytes], name: str) -> dict[str, Any]:
        words = sorted(self.num_words) or [0]
        values: dict[str, Any] = {
            "studies": self.num_studies,
            "patients": len(self.patients),
            "views": sum(number * count for number, count in self.num_views.items()),
            "views_per_study": {str(number): count for number, count in sorted(self.num_views.items())},
            "halves": {name: self.halves[name] for name in HALVES},
            "reports": len(self.num_words),
            "report_words": {
                "mean": round(sum(words) / len(words), 1),
                "median": words[len(words) // 2],
                "percentile_95": words[min(len(words) - 1, len(words) * 95 // 100)],
                "max": words[-1],
            },
            "repeated_reports": len(self.digests) - len(set(self.digests)),
        }
        if name != "train":
            values["reports_also_in_train"] = sum(digest in train for digest in self.digests)
        return values


def _texts(store: PreparedStore) -> Iterator[Study]:
    return (store.study(index, images=False) for index in range(len(store)))
