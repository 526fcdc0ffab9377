"""Labels of many reports into a table, and the words behind each label into a second file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.data.files import atomic_file, json_line
from radwright.errors import ConfigError, near
from radwright.evaluation.reports import ReportRow
from radwright.findings import VERSION, Mention, ReadReport, read_report
from radwright.findings.labels import chexpert_evidence, chexpert_labels, nih_evidence, nih_labels
from radwright.findings.ontology import CHEXPERT, NIH, NIH_NORMAL, concept

SPANS_SUFFIX = ".spans.jsonl"


@dataclass(frozen=True, slots=True)
class ClassList:
    """A list of classes that reports can be labelled with.

    Attributes:
        names: the columns, in order.
        labels: of a report that was read: class -> 1, 0, -1 or None.
        evidence: class -> the mention that decides it, where there is one.
    """

    names: tuple[str, ...]
    labels: Callable[[ReadReport], Mapping[str, int | None]]
    evidence: Callable[[ReadReport], Mapping[str, Mention]]


CLASS_LISTS: Mapping[str, ClassList] = {
    "chexpert": ClassList(CHEXPERT, chexpert_labels, chexpert_evidence),
    "nih": ClassList((*NIH, NIH_NORMAL), nih_labels, nih_evidence),
}


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """What was labelled.

    Attributes:
        num_reports: rows written.
        num_empty: reports without a sentence; their rows say nothing of any finding.
        counts: class -> label -> reports.
    """

    num_reports: int
    num_empty: int
    counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


def find_class_list(name: str) -> ClassList:
    """The classes called ``name``.

    Raises:
        ConfigError: there are none; the message lists the known ones.
    """
    if name not in CLASS_LISTS:
        raise ConfigError(f"unknown classes {name!r}{near(name, CLASS_LISTS)}; known: {', '.join(CLASS_LISTS)}")
    return CLASS_LISTS[name]


def label_to_file(
    rows: Iterable[ReportRow],
    out: Path,
    *,
    classes: ClassList,
    spans: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> LabelSummary:
    """Write ``out``, a CSV of study_id and one column per class; with ``spans`` also ``<out>.spans.jsonl``.

    Both files appear when all is done; a kill leaves neither half. A report's line of spans holds the deciding words
    of each class, and every mention with its status, side, grade and change.

    Args:
        rows: the reports.
        out: the CSV.
        classes: what to label.
        spans: whether to write the words behind the labels.
        on_progress: called after each report.

    Raises:
        OutputError: a file cannot be written.
    """
    counts: dict[str, Counter[int]] = {name: Counter() for name in classes.names}
    num_reports = num_empty = 0
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["study_id", *classes.names])
    lines: list[bytes] = []
    for row in rows:
        read = read_report(row.report)
        labels = classes.labels(read)
        writer.writerow([row.study_id, *("" if labels[name] is None else labels[name] for name in classes.names)])
        for name, label in labels.items():
            if label is not None:
                counts[name][label] += 1
        if spans:
            lines.append(json_line(_spans(row.study_id, read, labels, classes)))
        num_reports += 1
        num_empty += not read.sentences
        on_progress()
    if spans:
        with atomic_file(out.with_name(out.name + SPANS_SUFFIX)) as file:
            file.write(b"".join(lines))
    with atomic_file(out) as file:
        file.write(table.getvalue().encode())
    return LabelSummary(num_reports, num_empty, counts)


def _spans(study_id: str, read: ReadReport, labels: Mapping[str, int | None], classes: ClassList) -> dict[str, Any]:
    evidence = classes.evidence(read)
    return {
        "study_id": study_id,
        "labeler": VERSION,
        "labels": {name: {"label": labels[name], **_words(read, mention)} for name, mention in evidence.items()},
        "mentions": [
            {
                "finding": mention.concept,
                "name": concept(mention.concept).name,
                "status": mention.status.name.lower(),
                **_words(read, mention),
                "sides": sorted(mention.sides),
                "zones": sorted(mention.zones),
                "severity": mention.severity,
                "change": mention.change,
                "likely": mention.likely,
            }
            for mention in read.mentions
        ],
    }


def _words(read: ReadReport, mention: Mention) -> dict[str, Any]:
    """The words that name a finding and those that deny it or leave it open, with their places in the report."""
    cue = mention.cue
    return {
        "start": mention.start,
        "end": mention.end,
        "text": read.text[mention.start : mention.end],
        "cue": None if cue is None else {"start": cue[0], "end": cue[1], "text": read.text[cue[0] : cue[1]]},
    }
