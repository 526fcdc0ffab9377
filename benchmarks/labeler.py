"""How fast the labeler reads distinct reports, and how well it agrees with reference labels.

    python benchmarks/labeler.py REPORTS.jsonl [--reference LABELS.csv [--kept-aside]]

REPORTS is what `radwright label` reads. The reference has one row per report, its id in the first column and 1 or 0 in
columns named as the NIH classes; a class without a positive row is left out. Nothing is kept between reports.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from pathlib import Path

from radwright.evaluation.reports import read_reports
from radwright.findings import VERSION, read_report
from radwright.findings.labels import chexpert_evidence, nih_labels
from radwright.findings.ontology import NIH


def speed(texts: list[str]) -> None:
    distinct = sorted(set(texts))
    read_report("The lexicon is loaded once.")
    started = time.process_time()
    for text in distinct:
        chexpert_evidence(read_report(text))
    seconds = time.process_time() - started
    words = sum(len(text.split()) for text in distinct) / len(distinct)
    print(
        f"{len(distinct)} distinct reports of {words:.0f} words: {len(distinct) / seconds:.0f} a CPU-second, with spans"
    )


def is_kept_aside(identity: str) -> bool:
    """Three tenths of the reports: not looked at while the rules were written."""
    return int(hashlib.md5(identity.encode()).hexdigest(), 16) % 10 < 3


def agreement(reports: dict[str, str], reference: Path, *, kept_aside: bool) -> None:
    with reference.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    identity = next(iter(rows[0]))
    rows = [row for row in rows if not kept_aside or is_kept_aside(row[identity])]
    labels = {row[identity]: nih_labels(read_report(reports[row[identity]])) for row in rows}
    total = [0, 0, 0]
    for name in NIH:
        truth = {row[identity]: row[name] == "1" for row in rows}
        if not any(truth.values()):
            continue
        right = sum(truth[key] and labels[key][name] == 1 for key in truth)
        fabricated = sum(not truth[key] and labels[key][name] == 1 for key in truth)
        missed = sum(truth.values()) - right
        counts = right, fabricated, missed
        print(f"{name:20s} {right:4d} right {fabricated:4d} fabricated {missed:4d} missed  F1 {f1(*counts):.3f}")
        total = [a + b for a, b in zip(total, counts, strict=True)]
    print(f"micro, {len(rows)} reports: precision {total[0] / (total[0] + total[1]):.3f}", end=" ")
    print(f"recall {total[0] / (total[0] + total[2]):.3f} F1 {f1(*total):.3f}")


def f1(right: int, fabricated: int, missed: int) -> float:
    return 2 * right / max(1, 2 * right + fabricated + missed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--kept-aside", action="store_true", help="only the three tenths kept aside")
    arguments = parser.parse_args()
    reports = read_reports(arguments.reports).reports()
    print(f"labeler: {VERSION}")
    speed(list(reports.values()))
    if arguments.reference is not None:
        agreement(reports, arguments.reference, kept_aside=arguments.kept_aside)


if __name__ == "__main__":
    main()
