"""Another source than a checkpoint was trained on: read it, draft it, and hold the drafts against its labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radwright.data.files import read_lines
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.store import HEADER, PreparedStore
from radwright.errors import ConfigError
from radwright.evaluation.outside import OutsideScores, detect, find_label_map, score_outside, stated_findings
from radwright.evaluation.predict import draft_to_file
from radwright.inference.predictor import Predictor
from radwright.runs.drafting import ShowProgress, StoredStudies
from radwright.runs.outputs import claimed
from radwright.types import Study

DRAFTS = "drafts.jsonl"
STORE = "store"


@dataclass(frozen=True, slots=True)
class OtherSource:
    """Studies with labels instead of reports.

    Attributes:
        path: a dataset, or a prepared store.
        format, options: how to read a dataset, as for ``radwright prepare``.
        labels_map: a TOML file of what its labels say; None: the built-in one.
        limit: the first N studies only.
        folder: for everything that is made of it.
    """

    path: Path
    format: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    labels_map: Path | None = None
    limit: int | None = None
    folder: Path = Path()

    def prepared(self) -> PreparedStore:
        """It as a prepared store, which is made where it is none.

        Raises:
            ConfigError: a dataset without a format, or with an unknown one.
            SourceError: it cannot be read.
        """
        if (self.path / HEADER).is_file():
            return PreparedStore(self.path)
        if self.format is None:
            raise ConfigError(f"--other {self.path}: is no prepared store; say how to read it with --format")
        values = {"format": self.format, "options": dict(self.options), "as_split": "test", "keep_without_report": True}
        prepare(self.path, self.folder / STORE, PrepareConfig.parse(values, where="--other"))
        return PreparedStore(self.folder / STORE)


@dataclass(frozen=True, slots=True)
class Home:
    """Drafts of the own source by study, beside the studies' reports and patients."""

    drafts: Mapping[str, str]
    references: Mapping[str, str]
    patients: Mapping[str, str]


def judge_other(
    source: OtherSource, predictor: Predictor, identity: Mapping[str, Any], home: Home, *, show_progress: ShowProgress
) -> tuple[OutsideScores, int]:
    """Draft another source, and hold the drafts against its labels.

    Args:
        source: what to draft.
        predictor: what drafts it.
        identity: what the drafts depend on, besides the source.
        home: for comparison.
        show_progress: makes a progress bar.

    Returns:
        The scores, and how many drafts an earlier call had made.

    Raises:
        ConfigError: it cannot be read so, or there is no map of its labels.
        SourceError, OutputError: it cannot be read, or nothing can be written.
        ScoringError: no label says anything.
    """
    given = {"format": source.format, "options": dict(source.options)}
    identity = {**identity, "source": str(source.path.resolve()), **json.loads(json.dumps(given))}
    with claimed(source.folder, "robustness", identity):
        store = source.prepared()
        label_map = find_label_map(str(store.header.get("format")), source.labels_map)
        studies = StoredStudies(store, range(len(store))[: source.limit])
        what = f"drafting, {source.path.name}"
        drafts, skipped, num_resumed = draft_once(
            predictor, studies, source.folder / DRAFTS, identity, what, show_progress
        )
        plain = [store.study(index, images=False) for index in studies.indices]
        stated = stated_findings(home.references, list(label_map.findings))
        scores = score_outside(
            drafts,
            {study.study_id: str(study.extra[label_map.fact]) for study in plain if label_map.fact in study.extra},
            label_map,
            {study.study_id: study.patient_id for study in plain},
            data=f"{source.path.name}, {len(studies)} studies",
            at_home=detect(home.drafts, stated, home.patients),
            skipped=skipped,
        )
    return scores, num_resumed


def draft_once(
    predictor: Predictor,
    studies: Sequence[Study],
    path: Path,
    identity: Mapping[str, Any],
    what: str,
    show_progress: ShowProgress,
) -> tuple[dict[str, str], dict[str, str], int]:
    """Drafts by study, why others have none, and how many an earlier call had made; all of them, where ``path`` exists.

    Raises:
        OutputError: it cannot be written.
    """
    num_resumed = None
    if not path.exists():
        with show_progress(what, len(studies)) as bar:
            summary = draft_to_file(
                predictor, iter(studies), path, identity=identity, on_progress=lambda outcome: bar.advance()
            )
        num_resumed = summary.num_resumed
    drafts = {row["study_id"]: row["report"] for row in read_lines(path)}
    skipped_path = path.with_name(path.name + ".skipped.jsonl")
    skipped = {row["study_id"]: row["reason"] for row in read_lines(skipped_path)}
    return drafts, skipped, len(drafts) if num_resumed is None else num_resumed
