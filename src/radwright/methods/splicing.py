"""Sentences behind beginnings of other reports: what stands before a sentence, drawn from everybody's reports.

Within a report, what was said goes along with what comes next. Behind a spliced beginning it does not: a network that
reads spliced reports learns P(sentence | do(beginning)), with the beginning drawn from all reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from radwright.findings import read_report

Sentences = Sequence[tuple[str, Sequence[int]]]
"""A report: the text and the token ids of each sentence, in order."""
_RARE = 10
"""Words that fewer sentences consist of are no topic of their own."""


class _Report(NamedTuple):
    ends: tuple[int, ...]
    topics: tuple[frozenset[str], ...]


class Splicer:
    """Puts the beginning of another report before a sentence, up to where that sentence would stand there.

    The other report is cut before its first sentence that does not usually come earlier: whose topics follow the
    sentence's own at least as often as they precede them, over the reports that have both. So a sentence about the
    same topic, or one that stands where this one might (no report has both), is not in its beginning. Topics are the
    findings that a sentence names, whether it asserts or denies them; where it names none, its words. Rare words are no
    topic: such a sentence goes with those after it, and as the drawn one it stays behind its own beginning.

    Holds the token ids of all different reports. Each is drawn alike, however often it was written: what counts is that
    the beginning knows nothing of the sentence.

    Args:
        reports: the train reports, without BOS and EOS; those without a sentence are passed over.
    """

    def __init__(self, reports: Iterable[Sentences]) -> None:
        cut: dict[tuple[int, ...], tuple[tuple[int, ...], tuple[str, ...]]] = {}
        number: Counter[tuple[int, ...]] = Counter()
        texts: Counter[str] = Counter()
        for sentences in reports:
            if not sentences:
                continue
            ids, ends = list[int](), list[int]()
            for _, token_ids in sentences:
                ids += token_ids
                ends.append(len(ids))
            said = tuple(" ".join(text.lower().split()) for text, _ in sentences)
            cut[tuple(ids)] = (tuple(ends), said)
            number[tuple(ids)] += 1
            texts.update(said)
        topics = {text: _topics(text, common=count >= _RARE) for text, count in texts.items()}
        self._reports = {ids: _Report(ends, tuple(topics[text] for text in said)) for ids, (ends, said) in cut.items()}
        self._all = list(self._reports)
        self._precedes: Counter[tuple[str, str]] = Counter()
        for key, report in self._reports.items():
            for earlier, later in combinations(report.topics, 2):
                for pair in ((one, other) for one in earlier for other in later):
                    self._precedes[pair] += number[key]
        self._known: dict[tuple[frozenset[str], frozenset[str]], bool] = {}

    def _comes_before(self, topics: frozenset[str], own: frozenset[str]) -> bool:
        """Whether a sentence on these topics usually comes before one on the others."""
        if (found := self._known.get((topics, own))) is None:
            pairs = [(one, other) for one in topics for other in own]
            before = sum(self._precedes[pair] for pair in pairs)
            after = sum(self._precedes[other, one] for one, other in pairs)
            found = self._known[topics, own] = before > after and not topics & own
        return found

    def __len__(self) -> int:
        """Number of different reports."""
        return len(self._all)

    def num_sentences(self, token_ids: Sequence[int]) -> int | None:
        """Of a report (without BOS and EOS); None if it was not among the reports."""
        report = self._reports.get(tuple(token_ids))
        return None if report is None else len(report.ends)

    def splice(self, token_ids: Sequence[int], sentence: int, other: int) -> tuple[list[int], list[int]]:
        """The beginning of another report, and the sentence.

        Args:
            token_ids: a report that was among the reports, without BOS and EOS.
            sentence: its number, from 0; the number of sentences stands for the end of the report.
            other: number of the other report, in the order in which different ones came.

        Returns:
            token ids of the beginning, and of the sentence (none for the end).

        Raises:
            KeyError: the report is not known.
        """
        own, begun = self._reports[tuple(token_ids)], self._all[other]
        if sentence == len(own.ends):
            return list(begun), []
        starts, cut = (0, *own.ends), 0
        kept = list(token_ids[starts[sentence] : starts[sentence + 1]])
        if not own.topics[sentence]:
            return list(token_ids[: starts[sentence]]), kept
        for end, topics in zip(*self._reports[begun], strict=True):
            if topics and not self._comes_before(topics, own.topics[sentence]):
                break
            cut = end if topics else cut
        return list(begun[:cut]), kept

    def draw(
        self, token_ids_BT: Tensor, lengths_B: Tensor, *, eos_id: int, pad_id: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One sentence of each report, drawn at random, behind the beginning of another one drawn at random.

        Drawn from torch's default generator. A report that is not known stays as it is.

        Args:
            token_ids_BT: int64, reports from BOS on, padded.
            lengths_B: int64, tokens of each from BOS to EOS (which a report that was cut off may lack).
            eos_id: follows the last sentence of a report.
            pad_id: fills up.

        Returns:
            token ids (B, T'); lengths (B,); number of tokens behind BOS that belong to the beginning (B,).
        """
        chances = torch.rand(len(token_ids_BT), 2, dtype=torch.float64).tolist()
        rows, begun = [], []
        for row, length, (which, whose) in zip(token_ids_BT.tolist(), lengths_B.tolist(), chances, strict=True):
            bos, ids = row[0], row[1:length]
            ended = ids[-1:] == [eos_id]
            body = ids[:-1] if ended else ids
            number = self.num_sentences(body)
            if number is None:
                rows.append(row[:length])
                begun.append(0)
                continue
            sentence = int(which * (number + ended))
            beginning, kept = self.splice(body, sentence, int(whose * len(self)))
            rows.append([bos, *beginning, *(kept if sentence < number else [eos_id])])
            begun.append(len(beginning))
        lengths = [len(row) for row in rows]
        padded = [[*row, *[pad_id] * (max(lengths) - len(row))] for row in rows]
        device = token_ids_BT.device
        return (
            torch.tensor(padded, device=device),
            torch.tensor(lengths, device=device),
            torch.tensor(begun, device=device),
        )


def _topics(text: str, *, common: bool) -> frozenset[str]:
    named = frozenset(mention.concept for mention in read_report(text).mentions)
    return named or (frozenset({text}) if common else frozenset())
