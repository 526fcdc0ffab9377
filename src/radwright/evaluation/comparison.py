"""Two systems' drafts of the same studies: which one is better on which scores, and where that cannot be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from radwright.errors import ScoringError
from radwright.evaluation.baselines import Drafts
from radwright.evaluation.bootstrap import Interval, Resamples, paired_differences
from radwright.evaluation.conventions import find_convention, short_hash
from radwright.evaluation.learned.supply import WITHOUT_WEIGHTS
from radwright.evaluation.reports import name_some
from radwright.evaluation.score import NUM_RESAMPLES, find_metrics, make_signature
from radwright.evaluation.significance import NUM_PERMUTATIONS, holm, randomisation_p_values
from radwright.evaluation.texts import count_vocabulary, prepare_texts

LEVEL = 0.05
COMPARED: tuple[str, ...] = (
    "bleu_1",
    "bleu_4",
    "rouge_l",
    "cider",
    "meteor15_es",
    "chrf",
    "f1_14_micro",
    "f1_14_example",
    "f1_5_micro",
    "fabricated",
    "missed",
    "finding_score",
)
"""Scores compared unless metrics are named: variants that say nearly the same only make the correction harsher."""


@dataclass(frozen=True, slots=True)
class ScoreComparison:
    """One score of two systems, A and B.

    Attributes:
        a: A's score.
        b: B's score.
        difference: B minus A, with its paired 95 % bootstrap interval.
        p_value: of approximate randomisation, two-sided, for this score alone.
        adjusted_p: corrected for all scores of the comparison (Holm).
        higher_is_better: whether more of this score is better.
        different: whether ``adjusted_p`` is at most the comparison's level.
    """

    a: float
    b: float
    difference: Interval
    p_value: float
    adjusted_p: float
    higher_is_better: bool
    different: bool

    @property
    def b_is_better(self) -> bool | None:
        """Whether B is the better of the two; None where no difference can be told."""
        return (self.b > self.a) == self.higher_is_better if self.different else None

    def plain(self) -> dict[str, Any]:
        """The JSON of one score."""
        verdict = {None: "no difference told", True: "b better", False: "a better"}[self.b_is_better]
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.difference.plain(),
            "p": self.p_value,
            "p_holm": self.adjusted_p,
            "higher_is_better": self.higher_is_better,
            "different": self.different,
            "verdict": verdict,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two systems found.

    Attributes:
        names: what A and B are called.
        study_ids: compared studies, sorted.
        signature: of the scores, and of the test.
        level: the probability of calling any score different when the systems do not differ.
        scores: score name -> comparison.
        unavailable: metric -> why it could not be had (a missing extra).
        left_out: studies that lack a draft of one system or a usable reference (only with ``allow_missing``).
        notes: what a reader of the verdicts should know.
    """

    names: tuple[str, str]
    study_ids: tuple[str, ...]
    signature: str
    level: float
    scores: dict[str, ScoreComparison]
    unavailable: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def any_different(self) -> bool:
        """Whether any score tells the two apart."""
        return any(score.different for score in self.scores.values())

    @property
    def conclusion(self) -> str:
        """One line: which system is better on which scores."""
        parts = []
        for name, is_b in zip(self.names, (False, True), strict=True):
            better = [score for score, found in self.scores.items() if found.b_is_better is is_b]
            if better:
                parts.append(f"{name} is better on {len(better)} of {len(self.scores)} scores ({', '.join(better)})")
        if not parts:
            return (
                f"no difference between {self.names[0]} and {self.names[1]} can be told on any of {len(self.scores)} "
                f"scores over {len(self.study_ids)} studies, at family-wise level {self.level:g}"
            )
        undecided = sum(not found.different for found in self.scores.values())
        if undecided:
            parts.append(f"no difference can be told on the other {undecided}")
        return "; ".join(parts)

    def plain(self) -> dict[str, Any]:
        """The JSON that ``radwright compare --json`` writes."""
        return {
            "n": len(self.study_ids),
            "ids": short_hash(self.study_ids),
            "signature": self.signature,
            "names": {"a": self.names[0], "b": self.names[1]},
            "difference": "b - a",
            "level": self.level,
            "scores": {name: found.plain() for name, found in self.scores.items()},
            "any_different": self.any_different,
            "conclusion": self.conclusion,
            "unavailable": self.unavailable,
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


def compare(
    first: Mapping[str, str],
    second: Mapping[str, str],
    references: Mapping[str, str],
    *,
    names: tuple[str, str] = ("A", "B"),
    convention: str = "report",
    train: Mapping[str, str] | None = None,
    priors: Mapping[str, bool | None] | None = None,
    allow_missing: bool = False,
    metrics: Iterable[str] | None = None,
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    num_permutations: int = NUM_PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Compare two systems study by study.

    Args:
        first: A's drafts by study_id; an empty draft is scored as such.
        second: B's drafts of the same studies.
        references: study_id -> reference report.
        names: what to call A and B.
        convention: name in ``CONVENTIONS``.
        train: train reports, for the vocabulary of the ``r2gen-*`` conventions.
        priors: study_id -> whether there is an earlier examination to compare with; see ``score``.
        allow_missing: compare on the studies that have both drafts and a usable reference, and say so in the signature.
        metrics: names in the metrics table, or ``module:Class``, all of whose scores are compared; None: the scores
            in ``COMPARED``.
        level: family-wise, in (0, 1): over all scores of all metrics.
        num_resamples: bootstrap resamples, for the intervals.
        num_permutations: random swaps, for p.
        seed: of both.

    Raises:
        ScoringError: studies do not fit together, a reference is empty, no study or no metric is left, train reports
            are missing, the names are equal or ``level`` is no probability.
        ConfigError: an unknown metric.
    """
    if not 0 < level < 1:
        raise ScoringError(f"level {level:g}: a probability between 0 and 1 is expected, such as {LEVEL}")
    if names[0] == names[1]:
        raise ScoringError(f"both systems are called {names[0]!r}; give them different names")
    rules = find_convention(convention)
    vocabulary = count_vocabulary(rules, train)
    _check_same_studies(first, second, names, allow_missing=allow_missing)
    common = {study_id: draft for study_id, draft in first.items() if study_id in second}
    texts = prepare_texts(common, references, rules, vocabulary, allow_missing=allow_missing)
    others = Drafts.of([second[study_id] for study_id in texts.study_ids], rules.draft)
    has_prior = [(priors or {}).get(study_id) for study_id in texts.study_ids]
    found, unavailable = find_metrics(WITHOUT_WEIGHTS if metrics is None else metrics, None, has_prior)
    if not found:
        reasons = "; ".join(unavailable.values()) or "none was named"
        raise ScoringError(f"no metric to compare by: {reasons}")
    rows, other_rows = ([texts.rows(metric, drafts) for metric in found] for drafts in (texts.drafts, others))
    resamples = Resamples.draw(len(texts.study_ids), num_resamples=num_resamples, seed=seed)
    p_values = randomisation_p_values(found, rows, other_rows, num_permutations=num_permutations, seed=seed)
    if metrics is None:
        p_values = {name: p_values[name] for name in COMPARED if name in p_values}
    adjusted = holm(p_values)
    scores: dict[str, ScoreComparison] = {}
    for metric, own, theirs in zip(found, rows, other_rows, strict=True):
        differences = paired_differences(metric, theirs, own, resamples)
        values = zip(metric.scores(own.sum(axis=0)), metric.scores(theirs.sum(axis=0)), strict=True)
        for name, (a, b), higher in zip(metric.names, values, metric.higher_is_better, strict=True):
            if name not in adjusted:
                continue
            different = adjusted[name] <= level
            scores[name] = ScoreComparison(
                float(a), float(b), differences[name], p_values[name], adjusted[name], higher, different
            )
    signature = make_signature(rules, vocabulary, texts, found, num_resamples, seed)
    test = f"approximate randomisation {num_permutations}, seed {seed}, Holm over {len(scores)}, level {level:g}"
    return Comparison(
        names=names,
        study_ids=texts.study_ids,
        signature=f"{signature}|test={test}",
        level=level,
        scores=scores,
        unavailable=unavailable,
        left_out=tuple(sorted((first.keys() | second.keys() | references.keys()) - set(texts.study_ids))),
        notes=_notes(names, texts.drafts.prepared, others.prepared, len(scores), num_permutations, level),
    )


def _check_same_studies(
    first: Mapping[str, str], second: Mapping[str, str], names: tuple[str, str], *, allow_missing: bool
) -> None:
    if not first.keys() & second.keys():
        raise ScoringError(f"{names[0]} and {names[1]} have no study in common: are their study ids of one data set?")
    if allow_missing:
        return
    cure = "; --allow-missing compares on the studies that have both"
    for has, lacks, name, other in ((first, second, *names), (second, first, *names[::-1])):
        if missing := sorted(has.keys() - lacks.keys()):
            raise ScoringError(f"{other} has no draft for {name_some(missing, 'study')} that {name} has one for{cure}")


def _notes(
    names: tuple[str, str],
    drafts: Sequence[str],
    others: Sequence[str],
    num_scores: int,
    num_permutations: int,
    level: float,
) -> tuple[str, ...]:
    notes = []
    num_studies = len(drafts)
    if num_studies == 1:
        notes.append("one study: every interval is a single point, and no test can tell two systems apart")
    else:
        # Of 2^n ways to swap, the one seen and its mirror image always reach the difference.
        least = num_scores * max(1 / (1 + num_permutations), 2.0 ** (1 - num_studies))
        if least > level:
            notes.append(
                f"with {num_studies} studies, {num_permutations} permutations and {num_scores} scores an adjusted p "
                f"can hardly fall to {level:g}: take more studies or permutations, or name fewer metrics"
            )
    if drafts == others:
        notes.append("the drafts of both systems are the same, word for word")
    for name, texts in zip(names, (drafts, others), strict=True):
        if empty := sum(not text.split() for text in texts):
            notes.append(f"{name}: {empty} of {num_studies} drafts are empty, scored as they are")
    return tuple(notes)
