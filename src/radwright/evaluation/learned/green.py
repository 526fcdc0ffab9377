"""GREEN: a language model on disk counts a draft's matched findings and its errors of six kinds.

Ostmeier et al., EMNLP Findings 2024. The score is only theirs with their prompt, to the letter; it is read from a file
of the user's, since the project does not carry it. The answer's form is that of their repository (Stanford-AIMI/GREEN).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radwright.errors import ScoringError
from radwright.evaluation.learned.supply import Part, read_count
from radwright.evaluation.learned.texts import Pair, choose_device, mean_scores, rows_of_pairs
from radwright.metrics.base import FloatArray
from radwright.nn.huggingface import complete, load_causal_lm, load_tokenizer

ERRORS = ("false_finding", "missed_finding", "wrong_place", "wrong_severity", "false_comparison", "missed_comparison")
"""The six kinds, (a) to (f) of the answer."""
REFERENCE, CANDIDATE = "{reference}", "{candidate}"
_MAX_NEW_TOKENS = 2048
_BATCH = 4
_SECTION = re.compile(r"\[(Clinically Significant Errors|Matched Findings)\]\s*:?\s*(.*?)(?=\n\s*\n|\n\s*\[|\Z)", re.S)
_ERROR = re.compile(r"\(([a-f1-6])\)[^\n]*?:\s*(\d{1,3})\b")
_COUNT = re.compile(r"\s*(\d{1,3})\b")

Judge = Callable[[Sequence[str]], list[str]]
"""Answers to a batch of prompts."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer counts.

    Attributes:
        matched: findings on which draft and reference agree.
        errors: clinically significant errors, in the order of ``ERRORS``.
    """

    matched: int
    errors: tuple[int, ...]

    @property
    def score(self) -> float:
        """matched / (matched + errors); 0 where nothing matches."""
        return self.matched / (self.matched + sum(self.errors)) if self.matched else 0.0


class Green:
    """GREEN, and per study the matched findings and the clinically significant errors of each kind.

    An answer that cannot be read is not counted, and how many there were is said (ours; the released code counts some
    of them as 0). A row is [GREEN, matched, errors of six kinds, 1], all 0 where the answer could not be read.

    Args:
        judge: answers prompts.
        prompt: with ``{reference}`` and ``{candidate}`` where the reports go.
        name: what the model is called.
    """

    names = ("green", "green_matched", *(f"green_{kind}" for kind in ERRORS))
    higher_is_better = (True, True, *(False for _ in ERRORS))
    reads_as_written = True
    why_unscored = "got an answer that cannot be read"
    parts = (
        Part("model", "the folder of GREEN's language model", "huggingface.co/StanfordAIMI/GREEN-RadLlama2-7b"),
        Part(
            "prompt",
            f"a text file of GREEN's whole prompt with {REFERENCE} and {CANDIDATE} where the reports go",
            "github.com/Stanford-AIMI/GREEN; docs/learned_metrics.md says how",
        ),
        Part(
            "max_tokens", f"longest answer in tokens, {_MAX_NEW_TOKENS} when left out", "", read_count, required=False
        ),
    )
    built_on: tuple[str, ...] = ()

    def __init__(self, judge: Judge, prompt: str, name: str = "model") -> None:
        self._judge = judge
        self._prompt = prompt
        self._judged: dict[Pair, Judgement | None] = {}
        self.variant = f"GREEN by {name}, greedy, prompt as supplied, unreadable answers not counted"

    @classmethod
    def load(cls, model: Path, prompt: Path, max_tokens: int = _MAX_NEW_TOKENS) -> Green:
        """From the model's folder and the prompt's file.

        Raises:
            CheckpointError: the folder holds another kind of model.
            ScoringError: the prompt cannot be read, or has no place for a report.
            MissingExtraError: transformers is not installed.
        """
        text = read_prompt(prompt)
        network = load_causal_lm(model).to(choose_device())
        tokenizer = load_tokenizer(model)

        def judge(prompts: Sequence[str]) -> list[str]:
            return complete(network, tokenizer, prompts, max_new_tokens=max_tokens)

        return cls(judge, text, model.resolve().name)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 9); see ``Metric``."""
        return rows_of_pairs(self._compare, hypotheses, references)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 8) means over the studies whose answer could be read: GREEN in [0, 1], then counts per study."""
        return mean_scores(sums)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement | None]:
        """What the model counts for each pair of draft and reference; None where its answer cannot be read."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._judged]
        new.sort(key=lambda pair: -len(pair[0]) - len(pair[1]))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            answers = self._judge([fill(self._prompt, draft, text) for draft, text in batch])
            self._judged |= dict(zip(batch, map(read_answer, answers), strict=True))
        return [self._judged[pair] for pair in pairs]

    def _compare(self, pairs: Sequence[Pair]) -> FloatArray:
        statistics = np.zeros((len(pairs), len(self.names) + 1))
        for row, judgement in zip(statistics, self.judge(pairs), strict=True):
            if judgement is not None:
                row[:] = [judgement.score, judgement.matched, *judgement.errors, 1]
        return statistics


def read_answer(answer: str) -> Judgement | None:
    """The counts in an answer, or None where the two sections are not there or hold no counts.

    Sections are ``[Clinically Significant Errors]:`` with lines such as ``(a) ...: 2. ...`` (numbers instead of letters
    do as well), and ``[Matched Findings]:`` with ``3. ...``; ``No ...`` stands for none.
    """
    sections = {name: text.strip() for name, text in _SECTION.findall(answer)}
    wrong, right = sections.get("Clinically Significant Errors"), sections.get("Matched Findings")
    if not wrong or not right:
        return None
    errors = [0] * len(ERRORS)
    found = _ERROR.findall(wrong)
    if not found and not wrong.startswith("No"):
        return None
    for kind, count in found:
        errors["abcdef".find(kind) if kind.isalpha() else int(kind) - 1] = int(count)
    matched = _COUNT.match(right)
    if matched is None and not right.startswith("No"):
        return None
    return Judgement(int(matched[1]) if matched else 0, tuple(errors))


def fill(prompt: str, draft: str, reference: str) -> str:
    """The prompt with both reports in their places; what looks like a place inside a report stays as it is."""
    reports = {REFERENCE: reference, CANDIDATE: draft}
    return re.sub(r"\{reference\}|\{candidate\}", lambda place: reports[place[0]], prompt)


def read_prompt(path: Path) -> str:
    """The text of a prompt's file.

    Raises:
        ScoringError: it cannot be read, or lacks a place for a report.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"{path}: cannot be read as text: {error}") from error
    for place in (REFERENCE, CANDIDATE):
        if place not in text:
            raise ScoringError(f"{path}: has no {place}, where that report goes in the prompt")
    return text
