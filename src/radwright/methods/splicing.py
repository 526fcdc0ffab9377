"""Sentences behind beginnings of other reports: what stands before a sentence, drawn from everybody's reports.

Within a report, what was said goes along with what comes next. Behind a spliced beginning it does not: a network that
reads spliced reports learns P(sentence | do(beginning)), with the beginning drawn from all reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from radwright.findings import read_report

Sentences = Sequence[tuple[str, Sequence[int]]]
"""A report: the text and the token ids of each sentence, in order."""
_END = float("inf")
"""The end of a report comes after every sentence."""


class _Report(NamedTuple):
    ends: tuple[int, ...]
    places: tuple[float, ...]


class Splicer:
    """Puts the beginning of another report before a sentence, up to where that sentence would stand there.

    Sentences come in a usual order: a topic's place is the mean, over all sentences about it, of the sentence's number
    in its report divided by the number of sentences there. The other report is cut before its first sentence with a
    place as late as the sentence's own. A topic is the set of findings that a sentence names, whether it asserts or
    denies them; where it names none, its words.

    Holds the token ids of all reports.

    Args:
        reports: the train reports, without BOS and EOS; those without a sentence are passed over.
    """

    def __init__(self, reports: Iterable[Sentences]) -> None:
        topics: dict[str, object] = {}
        seen: defaultdict[object, list[float]] = defaultdict(list)
        cut: dict[tuple[int, ...], tuple[tuple[int, ...], list[object]]] = {}
        for sentences in reports:
            if not sentences:
                continue
            ends, named, ids = [], [], list[int]()
            for number, (text, token_ids) in enumerate(sentences):
                ids += token_ids
                ends.append(len(ids))
                if text not in topics:
                    topics[text] = _topic(text)
                named.append(topics[text])
                seen[topics[text]].append(number / len(sentences))
            cut[tuple(ids)] = (tuple(ends), named)
        place = {topic: sum(places) / len(places) for topic, places in seen.items()}
        self._reports = {
            ids: _Report(ends, tuple(place[topic] for topic in named)) for ids, (ends, named) in cut.items()
        }
        self._all = list(self._reports)

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
        own = self._reports[tuple(token_ids)]
        starts = (0, *own.ends)
        place, kept = _END, list[int]()
        if sentence < len(own.ends):
            place, kept = own.places[sentence], list(token_ids[starts[sentence] : starts[sentence + 1]])
        begun = self._all[other]
        cut = 0
        for end, other_place in zip(*self._reports[begun], strict=True):
            if other_place >= place:
                break
            cut = end
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


def _topic(text: str) -> object:
    named = frozenset(mention.concept for mention in read_report(text).mentions)
    return named or " ".join(text.lower().split())
