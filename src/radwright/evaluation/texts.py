"""Drafts and references of the same studies, prepared by a convention: shared by ``score`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from radwright.errors import ScoringError
from radwright.evaluation.baselines import Drafts
from radwright.evaluation.conventions import Convention
from radwright.evaluation.reports import name_some
from radwright.metrics.base import FloatArray, Metric


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of the evaluated studies, in the order of ``study_ids``.

    Attributes:
        study_ids: studies with a draft and a usable reference, sorted.
        drafts: their drafts.
        references: their references.
        without_draft: studies with a reference and no draft, left out.
        without_reference: drafts without a usable reference, left out.
    """

    study_ids: tuple[str, ...]
    drafts: Drafts
    references: Drafts
    without_draft: tuple[str, ...]
    without_reference: tuple[str, ...]

    def rows(self, metric: Metric, drafts: Drafts) -> FloatArray:
        """The metric's statistics of any drafts for these studies, in the form that it reads."""
        return metric.rows(drafts.form(metric), [[text] for text in self.references.form(metric)])


def count_vocabulary(rules: Convention, train: Mapping[str, str] | None) -> frozenset[str] | None:
    """The words that references keep under ``rules``; None where they keep all.

    Raises:
        ScoringError: the convention needs train reports and there are none.
    """
    if not rules.needs_train:
        return None
    if not train:
        raise ScoringError(
            f"convention {rules.name!r} maps rare reference words to <unk> and needs the train reports for it: "
            "give their file with --train"
        )
    return rules.vocabulary(train.values())


def prepare_texts(
    predictions: Mapping[str, str],
    references: Mapping[str, str],
    rules: Convention,
    vocabulary: frozenset[str] | None,
    *,
    allow_missing: bool,
) -> Texts:
    """Put drafts and references side by side.

    Args:
        predictions: study_id -> draft.
        references: study_id -> reference report.
        rules: the scoring convention.
        vocabulary: of ``count_vocabulary``.
        allow_missing: leave studies out that lack a draft or a usable reference.

    Raises:
        ScoringError: studies do not fit together, a reference is empty, or no study is left.
    """
    prepared = {study_id: rules.reference(text, vocabulary) for study_id, text in references.items()}
    empty = sorted(study_id for study_id, text in prepared.items() if not text)
    strangers = sorted(predictions.keys() - references.keys())
    without_draft = sorted(references.keys() - predictions.keys())
    if not allow_missing:
        cure = "; --allow-missing scores the studies that have both"
        if strangers:
            raise ScoringError(f"no reference for {name_some(strangers, 'study')} with a draft{cure}")
        if without_draft:
            hint = " (is it the right --split?)" if len(without_draft) > len(predictions) else ""
            raise ScoringError(f"no draft for {name_some(without_draft, 'study')} with a reference{hint}{cure}")
        if empty:
            raise ScoringError(
                f"the reference holds no words for {name_some(empty, 'study')} under convention {rules.name!r}{cure}"
            )
    study_ids = tuple(sorted(study_id for study_id in predictions if prepared.get(study_id)))
    if not study_ids:
        raise ScoringError("no study has both a draft and a reference: are the study ids of one data set?")
    return Texts(
        study_ids,
        Drafts.of([predictions[study_id] for study_id in study_ids], rules.draft),
        Drafts(
            tuple(prepared[study_id] for study_id in study_ids), tuple(references[study_id] for study_id in study_ids)
        ),
        tuple(without_draft),
        tuple(sorted({*strangers, *(predictions.keys() & set(empty))})),
    )
