"""Splicing: beginnings of other reports end where the sentence would stand, and go along with nothing any more."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from radwright.methods.splicing import Splicer

PORTABLE, HEART, BIG, EFFUSION, NONE = [10, 9], [11, 9], [12, 9], [13, 9], [14, 15, 9]
TEXTS = {
    tuple(PORTABLE): "portable technique.",
    tuple(HEART): "heart size is normal.",
    tuple(BIG): "the heart is enlarged.",
    tuple(EFFUSION): "there is a pleural effusion.",
    tuple(NONE): "no pleural effusion.",
}
REPORTS = [[PORTABLE, BIG, EFFUSION], [HEART, NONE], [PORTABLE, HEART, EFFUSION], [BIG, NONE]]


def flat(report: list[list[int]]) -> list[int]:
    return [number for sentence in report for number in sentence]


def splicer(copies: int = 10) -> Splicer:
    return Splicer([(TEXTS[tuple(sentence)], sentence) for sentence in report] for report in REPORTS * copies)


def test_a_beginning_ends_where_the_sentence_would_stand() -> None:
    """Whatever the sentence says: the heart comes before the effusion, asserted or denied, and a phrase before both."""
    known = splicer(copies=10)
    for (own, report), (number, other) in product(enumerate(REPORTS), enumerate(REPORTS)):
        for place, sentence in enumerate(report):
            beginning, kept = known.splice(flat(report), place, number)
            assert kept == sentence, own
            before = {tuple(PORTABLE): 0, tuple(HEART): 1, tuple(BIG): 1}.get(tuple(sentence), 2)
            ranks = [{tuple(PORTABLE): 0, tuple(HEART): 1, tuple(BIG): 1}.get(tuple(one), 2) for one in other]
            assert beginning == flat([one for one, rank in zip(other, ranks, strict=True) if rank < before])
        assert known.splice(flat(report), len(report), number) == (flat(other), [])


def test_drawn_beginnings_do_not_go_along_with_the_sentence() -> None:
    known = splicer()
    rows = [[1, *flat(report), 2] for report in REPORTS]
    ids = torch.zeros(4, max(map(len, rows)), dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    lengths = torch.tensor(list(map(len, rows)))
    torch.manual_seed(0)
    found = {(sentence, portable): 0 for sentence in (tuple(EFFUSION), tuple(NONE)) for portable in (True, False)}
    ended = 0
    for _ in range(500):
        drawn, drawn_lengths, begun = known.draw(ids, lengths, eos_id=2, pad_id=0)
        for row, length, start in zip(drawn.tolist(), drawn_lengths.tolist(), begun.tolist(), strict=True):
            assert row[0] == 1
            assert not any(row[length:])
            kept = tuple(row[start + 1 : length])
            ended += kept == (2,)
            if (kept, PORTABLE[0] in row) in found:
                found[kept, PORTABLE[0] in row] += 1
    # In the reports the phrase goes along with every effusion; behind spliced beginnings half of either has it.
    for sentence in (tuple(EFFUSION), tuple(NONE)):
        share = found[sentence, True] / (found[sentence, True] + found[sentence, False])
        assert share == pytest.approx(0.5, abs=0.08)
    assert 0 < ended < 1500


def test_an_unknown_report_stays_and_a_cut_one_has_no_end() -> None:
    known = splicer()
    other = torch.tensor([[1, 20, 21, 2, 0]])
    drawn, lengths, begun = known.draw(other, torch.tensor([4]), eos_id=2, pad_id=0)
    assert (drawn.tolist(), lengths.tolist(), begun.tolist()) == ([[1, 20, 21, 2]], [4], [0])
    cut = torch.tensor([[1, *flat(REPORTS[1])]])
    for seed in range(40):
        torch.manual_seed(seed)
        assert 2 not in known.draw(cut, torch.tensor([cut.shape[1]]), eos_id=2, pad_id=0)[0].tolist()[0]
    assert known.num_sentences(flat(REPORTS[0])) == 3
    assert known.num_sentences([4]) is None
    assert len(Splicer([[], [(TEXTS[tuple(HEART)], HEART)]])) == 1


def test_sentences_that_might_stand_in_one_place_are_drawn_as_often_as_they_are_written() -> None:
    """A report has a long consolidation or short clear lungs, half each: behind a heart either comes half the time."""
    lungs = {(20, 9): "the lungs are clear.", (21, 22, 9): "there is a consolidation.", (23, 9): "no pulmonary edema."}
    reports = [[HEART, [20, 9], NONE], [HEART, [21, 22, 9], [23, 9], NONE]]
    known = Splicer([((TEXTS | lungs)[tuple(one)], one) for one in report] for report in reports)
    for other in range(2):
        assert known.splice(flat(reports[0]), 1, other)[0] == HEART
        assert known.splice(flat(reports[1]), 1, other)[0] == HEART


def test_rare_words_are_no_topic() -> None:
    rare, common = "twins of dr. who, if you please.", "portable technique."
    other, own = [[10, 9], [30, 9], [11, 9]], [[10, 9], [31, 9], [13, 9]]
    texts = [common, rare, TEXTS[tuple(HEART)]], [common, "another one, once.", TEXTS[tuple(EFFUSION)]]
    both = [[(*pair,) for pair in zip(*report, strict=True)] for report in zip(texts, (other, own), strict=True)]
    between = [(common, [10, 9]), (TEXTS[tuple(HEART)], [11, 9]), (TEXTS[tuple(EFFUSION)], [13, 9])]
    known = Splicer([*both, *[between] * 10])
    assert known.splice(flat(own), 2, 0)[0] == flat(other), "goes with the heart behind it"
    assert known.splice(flat(own), 1, 0) == ([10, 9], [31, 9]), "stays behind its own beginning"
