"""Scores of drafts against references, each with its interval, its convention and the trivial baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from radwright import __version__
from radwright.errors import MissingExtraError, ScoringError
from radwright.evaluation.baselines import Baseline, Drafts, choose_constants, constant_baseline, random_reports
from radwright.evaluation.bootstrap import Interval, Resamples, paired_differences, score_with_intervals
from radwright.evaluation.chosen import user_cache_folder
from radwright.evaluation.class_table import Asserting, ClassScores, class_table, count_asserting
from radwright.evaluation.conventions import Convention, find_convention, short_hash
from radwright.evaluation.groups import GroupScores, Members, score_groups
from radwright.evaluation.learned.supply import WITHOUT_WEIGHTS, count_unscored, find_weighted_metrics
from radwright.evaluation.reports import name_some
from radwright.evaluation.texts import Texts, count_vocabulary, prepare_texts
from radwright.metrics.base import FloatArray, Metric
from radwright.metrics.cider import Cider, DocumentFrequency
from radwright.metrics.clinical import ClinicalF1
from radwright.metrics.diversity import Diversity, measure_diversity
from radwright.metrics.finding_score import ClinicalErrors, FindingScore, Priors
from radwright.tables import METRICS, resolve

NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class BaselineScores:
    """What a trivial baseline scores on the same references; ``report`` is its text where it is a constant."""

    metrics: dict[str, Interval]
    report: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything one scoring run found.

    Attributes:
        study_ids: evaluated studies, sorted.
        signature: convention, cleaning, cut, vocabulary, studies, metric variants and version: two numbers may be
            compared when theirs agree.
        metrics: score name -> value with interval.
        baselines: baseline name -> scores.
        differences: name of a baseline or another system -> score name -> the drafts' score minus its, with the paired
            interval.
        diversity: how varied the drafts are, and whether they have collapsed.
        unavailable: metric -> why it could not be had (a missing extra).
        without_draft: studies with a reference and no draft, left out (only with ``allow_missing``).
        without_reference: drafts without a usable reference, left out (only with ``allow_missing``).
        study_rows: per study its own scores and lengths, in the order of ``study_ids``.
        notes: what a reader of the numbers should know.
        classes: CheXpert's observations, one by one, each with its support; empty without the metric ``clinical``.
        asserting: in how many studies drafts and references assert anything; None without the metric ``clinical``.
        groups: fact -> group of studies -> scores of its drafts.
        lower_is_better: names of the scores that count errors.
    """

    study_ids: tuple[str, ...]
    signature: str
    metrics: dict[str, Interval]
    baselines: dict[str, BaselineScores]
    differences: dict[str, dict[str, Interval]]
    diversity: Diversity
    unavailable: dict[str, str] = field(default_factory=dict)
    without_draft: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()
    study_rows: tuple[dict[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[ClassScores, ...] = ()
    asserting: Asserting | None = None
    groups: dict[str, dict[str, GroupScores]] = field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The JSON that ``radwright score --json`` writes."""
        return {
            "n": len(self.study_ids),
            "ids": short_hash(self.study_ids),
            "signature": self.signature,
            "metrics": {name: interval.plain() for name, interval in self.metrics.items()},
            "baselines": {
                name: {
                    "metrics": {score: interval.plain() for score, interval in baseline.metrics.items()},
                    "report": baseline.report,
                }
                for name, baseline in self.baselines.items()
            },
            "differences": {
                name: {score: interval.plain() for score, interval in difference.items()}
                for name, difference in self.differences.items()
            },
            "diversity": asdict(self.diversity),
            "unavailable": self.unavailable,
            "without_draft": list(self.without_draft),
            "without_reference": list(self.without_reference),
            "notes": list(self.notes),
            "classes": {found.name: found.plain() for found in self.classes},
            "asserting": None if self.asserting is None else self.asserting.plain(),
            "groups": {
                fact: {name: group.plain() for name, group in groups.items()} for fact, groups in self.groups.items()
            },
            "lower_is_better": list(self.lower_is_better),
        }


def score(
    predictions: Mapping[str, str],
    references: Mapping[str, str],
    *,
    convention: str = "report",
    train: Mapping[str, str] | None = None,
    constants_from: Mapping[str, str] | None = None,
    cider_from: Mapping[str, str] | None = None,
    against: Mapping[str, Mapping[str, str]] | None = None,
    baselines: Mapping[str, Mapping[str, str]] | None = None,
    groups: Members | None = None,
    priors: Mapping[str, bool | None] | None = None,
    allow_missing: bool = False,
    metrics: Iterable[str] = WITHOUT_WEIGHTS,
    weights: Iterable[str] = (),
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Score drafts by study.

    Args:
        predictions: study_id -> draft; an empty draft is scored as such.
        references: study_id -> reference report.
        convention: name in ``CONVENTIONS``.
        train: train reports: the vocabulary of the ``r2gen-*`` conventions, the random baseline, verbatim copies.
        constants_from: reports on which the constant baselines are chosen; ``train`` when absent. Evaluated studies in
            it are left out.
        cider_from: reports whose document frequencies CIDEr uses instead of the evaluated references'.
        against: name -> drafts of another system, compared in pairs; it needs a draft for every evaluated study.
        baselines: name -> drafts of a further trivial baseline, for every evaluated study (the nearest train report).
        groups: fact -> name of a group -> ids of its studies, to be scored apart.
        priors: study_id -> whether there is an earlier examination to compare with, for clinical errors; where it is
            None or missing, whether the reference compares decides.
        allow_missing: score the studies that have both a draft and a usable reference, and say so in the signature.
        metrics: names in the metrics table that need no weights, or ``module:Class``.
        weights: what metrics that need weights are given, as after ``--weights`` (``"chexbert=chexbert.pth"``); a
            metric that cannot be had from it is listed under ``unavailable``.
        num_resamples: bootstrap resamples over studies.
        seed: of the resamples and of every draw for the baselines.

    Raises:
        ScoringError: studies do not fit together, a reference is empty, no study is left, or train reports are missing.
        ConfigError: an unknown metric, or weights that no metric takes.
    """
    rules = find_convention(convention)
    vocabulary = count_vocabulary(rules, train)
    texts = prepare_texts(predictions, references, rules, vocabulary, allow_missing=allow_missing)
    frequency = None
    if cider_from is not None:
        frequency = DocumentFrequency.of([rules.reference(text, vocabulary)] for text in cider_from.values())
    found, unavailable = find_metrics(
        metrics, frequency, [(priors or {}).get(study_id) for study_id in texts.study_ids]
    )
    weighted, lacking = find_weighted_metrics(weights)
    found, unavailable = found + weighted, unavailable | lacking
    resamples = Resamples.draw(len(texts.study_ids), num_resamples=num_resamples, seed=seed)
    rows = [texts.rows(metric, texts.drafts) for metric in found]
    evaluated = set(texts.study_ids)
    others = {name: _without(source, evaluated) for name, source in (("train", train), ("constants", constants_from))}
    trivial, notes = _baselines(rules, vocabulary, others, len(evaluated), frequency, seed)
    further = _others_drafts(baselines or {}, texts, rules, {baseline.name for baseline in trivial})
    trivial += [Baseline(name, drafts) for name, drafts in further.items()]
    others_drafts = _others_drafts(against or {}, texts, rules, {baseline.name for baseline in trivial})
    notes += count_unscored(found, rows)
    scored, differences = _compare(found, rows, texts, resamples, trivial, others_drafts)
    diversity = measure_diversity(
        texts.drafts.prepared,
        texts.references.prepared,
        None if train is None else {rules.draft(text) for text in train.values()},
    )
    if diversity.collapsed:
        notes.append(
            f"collapsed: one draft was given to {diversity.most_common_share:.0%} of the studies "
            f"({diversity.num_distinct} distinct drafts for {diversity.num_reports} studies)"
        )
    clinical = _clinical_rows(found, rows)
    asserting = None if clinical is None else count_asserting(clinical)
    if asserting is not None and asserting.silent:
        notes.append(
            f"silent: the drafts assert a finding in {asserting.drafts} of {asserting.num_studies} studies, the "
            f"references in {asserting.references}; a model that calls nearly everyone normal is of no use to a reader"
        )
    return Evaluation(
        study_ids=texts.study_ids,
        signature=make_signature(rules, vocabulary, texts, found, num_resamples, seed),
        metrics=_intervals(found, rows, resamples),
        baselines=scored,
        differences=differences,
        diversity=diversity,
        unavailable=unavailable,
        without_draft=texts.without_draft,
        without_reference=texts.without_reference,
        study_rows=_study_rows(found, rows, texts),
        notes=tuple(notes),
        classes=() if clinical is None else class_table(clinical, resamples),
        asserting=asserting,
        groups=score_groups(groups or {}, found, rows, texts.study_ids, num_resamples=num_resamples, seed=seed),
        lower_is_better=tuple(
            name
            for metric in found
            for name, higher in zip(metric.names, metric.higher_is_better, strict=True)
            if not higher
        ),
    )


def find_metrics(
    names: Iterable[str], frequency: DocumentFrequency | None, priors: Priors | None = None
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics of these names, and those that cannot be had with the reason (a missing extra).

    Args:
        names: in the metrics table, or ``module:Class``.
        frequency: see ``Cider``.
        priors: see ``ClinicalErrors``.
    """
    found: list[Metric] = []
    unavailable = {}
    for name in names:
        made = resolve(METRICS, name, kind="metric")
        try:
            found.append(_make(made, frequency, priors))
        except MissingExtraError as error:
            unavailable[name] = str(error)
    return found, unavailable


def _make(made: Callable[..., Metric], frequency: DocumentFrequency | None, priors: Priors | None) -> Metric:
    given: dict[Callable[..., Metric], tuple[Any, ...]] = {
        Cider: (frequency,),
        ClinicalErrors: (priors,),
        FindingScore: (priors,),
    }
    return made(*given.get(made, ()))


def _without(source: Mapping[str, str] | None, evaluated: set[str]) -> list[str] | None:
    """Texts of the studies that are not evaluated; None when there is no source."""
    if source is None:
        return None
    return [text for study_id, text in sorted(source.items()) if study_id not in evaluated]


def _baselines(
    rules: Convention,
    vocabulary: frozenset[str] | None,
    others: Mapping[str, list[str] | None],
    num_studies: int,
    frequency: DocumentFrequency | None,
    seed: int,
) -> tuple[list[Baseline], list[str]]:
    baselines: list[Baseline] = []
    notes: list[str] = []
    choosing = others["train"] if others["constants"] is None else others["constants"]
    if choosing is None:
        notes.append("no trivial baselines: give --constants-from or --train, the scores say little without them")
        return baselines, notes
    triples = [(rules.draft(text), rules.reference(text, vocabulary), text) for text in choosing]
    triples = [(draft, reference, text) for draft, reference, text in triples if reference]
    if triples:
        drafts, references, written = zip(*triples, strict=True)
        constants = choose_constants(
            drafts, references, seed=seed, document_frequency=frequency, cache_folder=user_cache_folder()
        )
        as_written = dict(zip(reversed(drafts), reversed(written), strict=True))
        baselines += [constant_baseline(name, text, as_written[text], num_studies) for name, text in constants.items()]
    else:
        notes.append("no constant baselines: every study to choose them on is itself evaluated, or empty")
    train = [text for text in others["train"] or () if rules.draft(text)]
    if train:
        picked = random_reports(train, num_studies, seed=seed)
        baselines.append(Baseline("random_train_report", Drafts.of(picked, rules.draft)))
    else:
        notes.append("no random train report as a baseline: give --train")
    return baselines, notes


def _others_drafts(
    against: Mapping[str, Mapping[str, str]], texts: Texts, rules: Convention, taken: set[str]
) -> dict[str, Drafts]:
    """The other systems' drafts, in the order of the evaluated studies."""
    prepared = {}
    for name, drafts in against.items():
        if name in taken:
            raise ScoringError(f"{name!r} is the name of a trivial baseline: name that file of drafts otherwise")
        if missing := [study_id for study_id in texts.study_ids if study_id not in drafts]:
            raise ScoringError(
                f"{name}: has no draft for {name_some(missing, 'study')}; systems are compared on the same studies"
            )
        prepared[name] = Drafts.of([drafts[study_id] for study_id in texts.study_ids], rules.draft)
    return prepared


def _compare(
    metrics: Sequence[Metric],
    rows: Sequence[FloatArray],
    texts: Texts,
    resamples: Resamples,
    baselines: Sequence[Baseline],
    others: Mapping[str, Drafts],
) -> tuple[dict[str, BaselineScores], dict[str, dict[str, Interval]]]:
    """Scores of the baselines, and the drafts' paired differences from them and from the other systems."""
    scored: dict[str, BaselineScores] = {}
    differences: dict[str, dict[str, Interval]] = {}
    reports = {baseline.name: baseline.report for baseline in baselines}
    drafts = {baseline.name: baseline.drafts for baseline in baselines} | dict(others)
    for name, other in drafts.items():
        other_rows = [texts.rows(metric, other) for metric in metrics]
        if name in reports:
            scored[name] = BaselineScores(_intervals(metrics, other_rows, resamples), reports[name])
        differences[name] = {
            score: interval
            for metric, own, theirs in zip(metrics, rows, other_rows, strict=True)
            for score, interval in paired_differences(metric, own, theirs, resamples).items()
        }
    return scored, differences


def _intervals(metrics: Sequence[Metric], rows: Sequence[FloatArray], resamples: Resamples) -> dict[str, Interval]:
    return {
        name: interval
        for metric, statistics in zip(metrics, rows, strict=True)
        for name, interval in score_with_intervals(metric, statistics, resamples).items()
    }


def _clinical_rows(metrics: Sequence[Metric], rows: Sequence[FloatArray]) -> FloatArray | None:
    """The rows of the metric that counts classes, where it is among the metrics."""
    return next((each for metric, each in zip(metrics, rows, strict=True) if isinstance(metric, ClinicalF1)), None)


def _study_rows(metrics: Sequence[Metric], rows: Sequence[FloatArray], texts: Texts) -> tuple[dict[str, float], ...]:
    names = [name for metric in metrics for name in metric.names]
    values = [metric.scores(statistics) for metric, statistics in zip(metrics, rows, strict=True)]
    table = np.concatenate(values, axis=1) if values else np.zeros((len(texts.study_ids), 0))
    return tuple(
        {
            **dict(zip(names, map(float, scores), strict=True)),
            "draft_words": float(len(draft.split())),
            "reference_words": float(len(reference.split())),
        }
        for scores, draft, reference in zip(table, texts.drafts.prepared, texts.references.prepared, strict=True)
    )


def make_signature(
    rules: Convention,
    vocabulary: frozenset[str] | None,
    texts: Texts,
    metrics: Sequence[Metric],
    num_resamples: int,
    seed: int,
) -> str:
    """What has to agree for two numbers to be compared."""
    left_out = len(texts.without_draft) + len(texts.without_reference)
    coverage = "all" if not left_out else f"intersection ({left_out} left out)"
    variants = "; ".join(f"{metric.names[0].removesuffix('_1')}: {metric.variant}" for metric in metrics)
    return "|".join(
        [
            rules.describe(vocabulary),
            f"n={len(texts.study_ids)}",
            f"ids={short_hash(texts.study_ids)}",
            f"coverage={coverage}",
            f"interval=bootstrap {num_resamples}, seed {seed}",
            f"metrics={variants}",
            f"version={__version__}",
        ]
    )
