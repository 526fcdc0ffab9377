"""The page of an evaluation: which studies it shows, and what it says of how they came about."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.data.store import PreparedStore
from radwright.evaluation import page
from radwright.evaluation.score import Evaluation
from radwright.inference.predictor import Predictor
from radwright.runs.provenance import provenance

MAX_SHOWN = 300
"""Studies on a page, unless the command says otherwise: what a browser shows at once."""
WORST_SHARE = 0.75
"""Share of them that are the worst; the others are drawn at random."""
_WORST_BY = ("finding_score", "cider")
_SHOWN_SCORES = ("finding_score", "cider", "bleu_4", "f1_14_example", "rouge_l", "meteor15_es", "chrf")


@dataclass(frozen=True, slots=True)
class Drafted:
    """Studies with their drafts.

    Attributes:
        store: where the studies are.
        indices: which of its studies were to be drafted.
        references: study id -> its own report.
        rows: study id -> its line of the predictions file.
    """

    store: PreparedStore
    indices: Sequence[int]
    references: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]


def lay_out(
    drafted: Drafted,
    evaluation: Evaluation,
    predictor: Predictor,
    *,
    names: tuple[str, str],
    scores: Mapping[str, Any],
    max_shown: int,
    seconds: float,
) -> page.Page:
    """The content of the page.

    Args:
        drafted: the studies.
        evaluation: their scores.
        predictor: what wrote the drafts.
        names: of the run, and of the split.
        scores: everything measured, as JSON-able values.
        max_shown: studies on the page.
        seconds: that the evaluation took.
    """
    run, split = names
    store = drafted.store
    places = {store.study_ids[index]: index for index in drafted.indices}
    own = dict(zip(evaluation.study_ids, evaluation.study_rows, strict=True))
    shown_scores = [name for name in _SHOWN_SCORES if name in evaluation.metrics]
    shown, told = choose_shown(evaluation, max_shown)
    return page.Page(
        title=f"Drafts of {run}, {split} studies of {store.path.name}",
        statement=(
            f"The checkpoint drafted reports for {len(drafted.rows)} studies of split {split!r}; each draft is held "
            "against the study's own report."
        ),
        facts=_made(store, predictor, scores.get("clues")),
        seconds={"this call": seconds},
        scores=scores,
        studies=tuple(
            page.DraftedStudy.of(
                store.study(places[study_id]),
                drafted.rows[study_id],
                drafted.references[study_id],
                {name: own[study_id][name] for name in shown_scores},
            )
            for study_id in shown
        ),
        shown=told,
        worst_first=worst_by(evaluation),
    )


def worst_by(evaluation: Evaluation) -> str:
    """The score that says which drafts are the worst."""
    return next(name for name in (*_WORST_BY, *evaluation.metrics) if name in evaluation.metrics)


def choose_shown(evaluation: Evaluation, max_shown: int) -> tuple[list[str], str]:
    """Ids of the studies on the page, worst first, and a sentence that says which they are.

    Of more studies than there is room for, ``WORST_SHARE`` are the worst and the others are drawn at random.
    """
    by = worst_by(evaluation)
    values = [row[by] for row in evaluation.study_rows]
    ordered = [study_id for _, study_id in sorted(zip(values, evaluation.study_ids, strict=True))]
    name, total = page.metric_name(by), len(ordered)
    if total <= max_shown:
        return ordered, f"All {total} scored studies." if total > 1 else ""
    num_worst = max(1, round(WORST_SHARE * max_shown))
    drawn = set(random.Random(0).sample(ordered[num_worst:], max_shown - num_worst))
    shown = ordered[:num_worst] + [study_id for study_id in ordered[num_worst:] if study_id in drawn]
    told = (
        f"{max_shown} of {total} scored studies: the {num_worst} with the lowest {name}, and {max_shown - num_worst} "
        "drawn at random from the others. So these drafts are worse than the drafts on the whole; the scores above are "
        "of all studies."
    )
    return shown, told


def _made(store: PreparedStore, predictor: Predictor, clues: Mapping[str, Any] | None) -> dict[str, str]:
    made = provenance()
    checkpoint = predictor.checkpoint
    trained = str(checkpoint.provenance.get("trained_at", ""))[:10]
    credentialed = store.terms.get("credentialed")
    return {
        "command": made["command"],
        "checkpoint": f"{checkpoint.config.method}, weights {predictor.fingerprint[:12]}"
        + (f", trained {trained}" if trained else ""),
        "decoding": ", ".join(_settings(predictor.decoding.plain())),
        "clues": ", ".join(f"{name} {value}" for name, value in (clues or {}).items() if name != "model"),
        "data": "; ".join(filter(None, [f"{store.path.name}, {len(store)} studies", store.terms.get("licence")])),
        "not to be passed on": "this page holds images and reports of credentialed data" if credentialed else "",
        "machine": f"{made['machine']}, {made['threads']} threads" + (f", {made['gpu']}" if made["gpu"] else ""),
        "version": f"{made['radwright']} ({made['commit'] or 'no commit'}), torch {made['torch']}",
    }


def _settings(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """``strategy.num_beams=3``, as ``--decoding`` takes them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={value}"
