"""What every metric in the table promises, and properties of single metrics."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radwright.evaluation.learned.supply import LEARNED
from radwright.metrics import ngrams
from radwright.metrics.base import Metric
from radwright.metrics.bleu import Bleu
from radwright.metrics.cider import Cider, DocumentFrequency, similarity, weigh
from radwright.metrics.constant import ConstantTables
from radwright.metrics.diversity import measure_diversity
from radwright.metrics.meteor import Meteor, function_words
from radwright.metrics.ngrams import StudyTexts, count_ngrams
from radwright.metrics.rouge import longest_common_subsequence
from radwright.tables import METRICS, resolve

WORDS = ["the", "heart", "is", "normal", "lungs", "clear", "no", "effusion", "nodules", "nodule", "."]
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
DRAFTS = [
    "the heart is normal . lungs clear .",
    "no effusion .",
    "",
    "nodules",
    "lungs clear . no effusion . no nodule .",
]
REFERENCES = [
    ["heart normal ."],
    ["no effusion .", "effusion is clear"],
    ["lungs clear"],
    ["nodule"],
    ["lungs clear ."],
]


# The last differs from the first, and the third from the second, in every score and every kind of error.
PERFECT = [
    "there is a large left basal pleural effusion , new since the prior study . lungs are otherwise clear .",
    "there is mild left atelectasis . no cardiomegaly . no pneumothorax .",
    "the heart is enlarged . atelectasis is not seen . there is consolidation . pneumonia is possible .",
    "there is a small right apical pleural effusion with pulmonary edema .",
]
# Cosines, and what is rescaled or an error's estimate, have no floor at 0.
BELOW_ZERO = {"bertscore", "chexbert_semb", "radcliq_v1", "ratescore"}


@pytest.fixture(scope="session")
def learned() -> dict[str, Metric]:
    """Metrics that need weights, with tiny random ones."""
    from tiny_weights import make_metrics

    return make_metrics([*DRAFTS, *itertools.chain(*REFERENCES), *PERFECT, "no effusion"])


@pytest.fixture(params=sorted(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    if request.param in LEARNED:
        weighted: dict[str, Metric] = request.getfixturevalue("learned")
        return weighted[request.param]
    made: Metric = resolve(METRICS, request.param, kind="metric")()
    return made


def test_shapes_names_and_finite_scores(metric: Metric) -> None:
    rows = metric.rows(DRAFTS, REFERENCES)
    assert rows.shape[0] == len(DRAFTS)
    assert rows.dtype == np.float64
    scores = metric.scores(rows)
    assert scores.shape == (len(DRAFTS), len(metric.names))
    assert np.isfinite(scores).all()
    bounded = [name not in BELOW_ZERO for name in metric.names]
    assert (scores[:, bounded] >= 0).all()
    assert metric.variant
    assert len(metric.higher_is_better) == len(metric.names)


def test_many_sums_at_once_equal_one_by_one(metric: Metric) -> None:
    rows = metric.rows(DRAFTS, REFERENCES)
    counts = np.random.default_rng(0).integers(0, 3, size=(2, 7, len(DRAFTS))).astype(float)
    together = metric.scores(counts @ rows)
    for index in np.ndindex(2, 7):
        np.testing.assert_allclose(together[index], metric.scores(counts[index] @ rows), rtol=1e-12)


def test_a_resample_of_rows_equals_scoring_the_resampled_texts(metric: Metric) -> None:
    if isinstance(metric, Cider):
        metric = Cider(DocumentFrequency.of(REFERENCES))  # by default its idf would be counted anew
    picks = [0, 0, 4, 1, 4]
    from_rows = metric.scores(metric.rows(DRAFTS, REFERENCES)[picks].sum(axis=0))
    anew = metric.rows([DRAFTS[k] for k in picks], [REFERENCES[k] for k in picks])
    np.testing.assert_allclose(from_rows, metric.scores(anew.sum(axis=0)), rtol=1e-12)


def test_perfect_drafts_beat_every_other(metric: Metric) -> None:
    references = [[text] for text in PERFECT]
    best = metric.scores(metric.rows(PERFECT, references).sum(axis=0))
    worse = metric.scores(metric.rows(PERFECT[::-1], references).sum(axis=0))
    assert np.where(metric.higher_is_better, best > worse, best < worse).all()


def test_empty_drafts_score_nothing(metric: Metric) -> None:
    scores = metric.scores(metric.rows(["", ""], [["lungs clear"], ["no effusion"]]).sum(axis=0))
    np.testing.assert_allclose(scores[list(metric.higher_is_better)], 0, atol=1e-6)


def test_mistakes_in_the_call_are_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match="lists of references"):
        metric.rows(["a"], [])
    with pytest.raises(ValueError, match="at least one reference"):
        metric.rows(["a"], [[]])
    with pytest.raises(ValueError, match="lists of texts"):
        metric.rows(["a"], ["a"])


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_longest_common_subsequence_equals_the_textbook_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, j in itertools.product(range(len(first)), range(len(second))):
        same = first[i] == second[j]
        table[i + 1][j + 1] = table[i][j] + 1 if same else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(first, second) == table[-1][-1]


@given(st.lists(st.sampled_from("abcd"), max_size=7))
def test_ngrams_are_counted_once_per_place(words: list[str]) -> None:
    for order, counts in enumerate(count_ngrams(words), start=1):
        assert counts == Counter(tuple(words[k : k + order]) for k in range(len(words) - order + 1))


STUDIES = st.lists(st.tuples(TEXT | st.just(""), st.lists(TEXT, min_size=1, max_size=3)), max_size=5)


@given(STUDIES, st.booleans())
def test_ngrams_of_all_texts_at_once_are_those_of_each(studies: list[tuple[str, list[str]]], packed: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not packed:
            patch.setattr(ngrams, "_KEY_BITS", 0)
        texts = StudyTexts.of([draft for draft, _ in studies], [targets for _, targets in studies])
        counted = list(texts.count())
    flat = [text.split() for draft, targets in studies for text in (draft, *targets)]
    words = [word for text in flat for word in text]
    for order, found in enumerate(counted, start=1):
        ours: list[dict[tuple[str, ...], int]] = [{} for _ in flat]
        for text, first, count in zip(found.texts, found.firsts, found.counts, strict=True):
            ours[text][tuple(words[first : first + order])] = count
        assert ours == [count_ngrams(text)[order - 1] for text in flat]


@given(STUDIES, st.booleans())
def test_cider_of_all_studies_at_once_is_that_of_each(studies: list[tuple[str, list[str]]], given_file: bool) -> None:
    drafts, targets = [draft for draft, _ in studies], [texts for _, texts in studies]
    frequency = DocumentFrequency.of(REFERENCES) if given_file else DocumentFrequency.of(targets)
    similarities = [
        10 * sum(similarity(weigh(draft, frequency, {}), weigh(text, frequency, {})) for text in texts) / len(texts)
        for draft, texts in studies
    ]
    assert Cider(frequency if given_file else None).rows(drafts, targets)[:, 0].tolist() == similarities


@given(STUDIES)
def test_bleu_of_all_studies_at_once_is_that_of_each(studies: list[tuple[str, list[str]]]) -> None:
    rows = Bleu().rows([draft for draft, _ in studies], [texts for _, texts in studies])
    for row, (draft, texts) in zip(rows, studies, strict=True):
        counted = [count_ngrams(text.split()) for text in texts]
        clipped = [
            sum(min(count, max(orders[order][ngram] for orders in counted)) for ngram, count in counts.items())
            for order, counts in enumerate(count_ngrams(draft.split()))
        ]
        num_words = len(draft.split())
        lengths = sorted(len(text.split()) for text in texts)
        closest = min(lengths, key=lambda length: abs(length - num_words))
        assert row.tolist() == [num_words, closest, *clipped, *(max(0, num_words - order) for order in range(4))]


@given(TEXT, st.lists(TEXT, min_size=1, max_size=6))
def test_constant_tables_equal_scoring_n_copies(text: str, references: list[str]) -> None:
    tables = ConstantTables(references)
    targets = [[reference] for reference in references]
    copies = [text] * len(references)
    for metric, value in ((Bleu(), tables.bleu_4(text)), (Cider(), tables.cider(text))):
        assert value == pytest.approx(float(metric.scores(metric.rows(copies, targets).sum(axis=0))[-1]), abs=1e-12)


def test_cider_weights_can_come_from_a_file_of_reports() -> None:
    assert Cider().scores(Cider().rows(["no mass"], [["no mass"]])[0])[0] == 0  # one study: every idf is 0
    fixed = Cider(DocumentFrequency.of([["no mass"], ["no mass"], ["no nodule"], ["lungs"]]))
    assert fixed.scores(fixed.rows(["no mass"], [["no mass"]])[0])[0] == pytest.approx(10 * 2 / 4)  # orders 1 and 2
    assert "file of 4" in fixed.variant
    weight = DocumentFrequency.of([["no mass"], ["no nodule"]]).weight
    assert weight(("no",)) == 0
    assert weight(("mass",)) == pytest.approx(math.log(2)) == weight(("never",))


def test_bleu_takes_the_closest_length_and_the_shorter_of_two_as_close() -> None:
    rows = Bleu().rows(["a b c"], [["a b c d", "a b", "a b c d e f"]])
    assert rows[0, :2].tolist() == [3, 2]


def test_meteor_adds_statistics_up_rather_than_averaging_scores() -> None:
    metric = Meteor()
    rows = metric.rows(["clear .", "opacity"], [["clear ."], ["a large right pleural effusion is seen"]])
    assert float(metric.scores(rows.sum(axis=0))[0]) != pytest.approx(float(metric.scores(rows).mean()), abs=0.05)


def test_function_words_are_the_93_of_meteor() -> None:
    assert len(function_words()) == 93
    assert {"the", ".", "of", "is", "no", "'"} <= function_words()
    assert "lungs" not in function_words()


def test_diversity_and_its_alarm() -> None:
    references = ["lungs clear", "a b c d", "no effusion", "heart normal"]
    collapsed = measure_diversity(["clear"] * 3 + ["no effusion"], references, ["clear", "other"])
    assert collapsed.collapsed
    assert (collapsed.num_distinct, collapsed.num_distinct_references, collapsed.num_empty) == (2, 4, 0)
    assert collapsed.most_common_share == collapsed.verbatim_train_share == 0.75
    assert collapsed.length_ratio == pytest.approx((1 / 2 + 1 / 4 + 1 / 2 + 1) / 4)
    assert collapsed.entropy_bits == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))
    varied = measure_diversity(["a", "", "c", "d"], references)
    assert not varied.collapsed
    assert varied.num_empty == 1
    assert varied.verbatim_train_share is None
    assert varied.entropy_bits == pytest.approx(2)
    assert not measure_diversity(["clear"] * 4, ["lungs clear"] * 4).collapsed  # the references are no different
