"""What a draft says beside what its reference says: sentence by sentence, and finding by finding."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from radwright.evaluation.page.content import DraftedStudy
from radwright.metrics.diversity import COLLAPSE_SHARE
from radwright.text.cleaning import clean_report

_BREAK = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
_EDGES = re.compile(r"^\W+|\W+$")
NEAR_RATIO = 0.6
"""Share of words in order (2 M / T, Ratcliff and Obershelp) from which two sentences count as versions of one."""
_MAX_WORDS = 80  # a longer "sentence" is no sentence: its words are not compared one by one
FEW_SHARE = 0.1
"""So few different drafts per study, or fewer, raise the alarm too, where the references are more varied."""
_ALARM_FROM = 10


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of one report beside the other report.

    Attributes:
        pieces: the text in pieces, each with whether its words differ from the nearest sentence of the other report;
            one piece where there is no near one.
        shared: whether the other report has the same sentence, cleaned; None for a piece without words.
        starts_line: whether a line of the report begins here.
    """

    pieces: tuple[tuple[str, bool], ...]
    shared: bool | None
    starts_line: bool


def compare_sentences(text: str, other: str | None) -> list[Sentence]:
    """The sentences of ``text``, held against those of ``other`` (None: nothing is held against anything)."""
    sentences = _split(text)
    if other is None:
        return [Sentence(((sentence, False),), None, line) for sentence, line in sentences]
    candidates = [sentence for sentence, _ in _split(other)]
    known = {clean_report(sentence) for sentence in candidates} - {""}
    compared = []
    for sentence, line in sentences:
        cleaned = clean_report(sentence)
        shared = cleaned in known if cleaned else None
        pieces = ((sentence, False),) if shared is not False else _differing(sentence, candidates)
        compared.append(Sentence(pieces, shared, line))
    return compared


def _split(text: str) -> list[tuple[str, bool]]:
    """Sentences, each with whether it starts a line."""
    text = text.strip()
    found, start, line = [], 0, True
    for gap in _BREAK.finditer(text):
        found.append((text[start : gap.start()], line))
        start, line = gap.end(), "\n" in gap[0]
    found.append((text[start:], line))
    return [(sentence, line) for sentence, line in found if sentence]


def _differing(sentence: str, candidates: Iterable[str]) -> tuple[tuple[str, bool], ...]:
    """The sentence cut where its words begin or end to differ from the nearest candidate."""
    whole = ((sentence, False),)
    words = sentence.split()
    keys = _keys(words)
    best: tuple[float, SequenceMatcher[str]] | None = None
    if len(words) > _MAX_WORDS:
        return whole
    for candidate in candidates:
        others = _keys(candidate.split())
        if len(others) > _MAX_WORDS:
            continue
        matcher = SequenceMatcher(None, others, keys, autojunk=False)
        if matcher.real_quick_ratio() < NEAR_RATIO or matcher.quick_ratio() < NEAR_RATIO:
            continue
        ratio = matcher.ratio()
        if ratio >= NEAR_RATIO and (best is None or ratio > best[0]):
            best = ratio, matcher
    if best is None:
        return whole
    pieces = []
    for operation, _, _, start, end in best[1].get_opcodes():
        if end > start:
            pieces.append((" ".join(words[start:end]), operation != "equal"))
    return tuple(pieces)


def _keys(words: Sequence[str]) -> list[str]:
    return [_EDGES.sub("", word.lower()) or word for word in words]


@dataclass(frozen=True, slots=True)
class FindingFacts:
    """Findings of a draft beside those of its reference, in the reference's order, then the draft's.

    Attributes:
        right: in both, and nothing that both say of it differs.
        described: in both, but described otherwise: (finding, of the reference, of the draft).
        missed: only in the reference, with what is said there.
        fabricated: only in the draft, with what is said there.
    """

    right: tuple[tuple[str, str], ...]
    described: tuple[tuple[str, str, str], ...]
    missed: tuple[tuple[str, str], ...]
    fabricated: tuple[tuple[str, str], ...]

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) of the kinds of finding; 1 where neither report has a finding."""
        wrong = len(self.missed) + len(self.fabricated)
        true = 2 * (len(self.right) + len(self.described))
        return true / (true + wrong) if true + wrong else 1.0

    @property
    def exact(self) -> bool:
        """Whether the draft has the reference's findings, no more, no fewer, and described alike."""
        return not self.missed and not self.fabricated and not self.described


def compare_findings(study: DraftedStudy) -> FindingFacts | None:
    """Right, missed and fabricated findings; None where the study's findings are not known."""
    reference, draft = study.reference_findings, study.draft_findings
    if reference is None or draft is None:
        return None
    both = [(name, reference[name], draft[name]) for name in reference if name in draft]
    return FindingFacts(
        right=tuple((name, said) for name, said, drafted in both if said == drafted),
        described=tuple(entry for entry in both if entry[1] != entry[2]),
        missed=_only(reference, draft),
        fabricated=_only(draft, reference),
    )


def _only(here: Mapping[str, str], there: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, said) for name, said in here.items() if name not in there)


@dataclass(frozen=True, slots=True)
class Variety:
    """How varied the drafts are.

    Attributes:
        num_drafts: drafts counted.
        num_distinct: different ones.
        num_distinct_references: different references of the same studies; None without references.
        most_common_share: share of the studies that got the most frequent draft.
        collapsed: the alarm: one draft for more than half of the studies, or at most one different draft for every
            ten, while the references are at least twice as varied.
    """

    num_drafts: int
    num_distinct: int
    num_distinct_references: int | None
    most_common_share: float
    collapsed: bool

    @classmethod
    def of(cls, studies: Sequence[DraftedStudy]) -> Variety:
        """Of at least one study; texts are compared cleaned."""
        drafts = Counter(clean_report(study.draft) for study in studies)
        references = Counter(clean_report(study.reference) for study in studies if study.reference is not None)
        total = len(studies)
        share = drafts.most_common(1)[0][1] / total
        same_reference = max(references.values(), default=0) / total
        repeated = total > 1 and share > COLLAPSE_SHARE and share > same_reference
        num_references = len(references) or None
        return cls(total, len(drafts), num_references, share, repeated or _are_few(total, len(drafts), num_references))

    @classmethod
    def scored(cls, scores: Mapping[str, Any] | None) -> Variety | None:
        """Of all scored studies, which may be more than the page shows; None where the scores do not tell."""
        told = (scores or {}).get("diversity")
        if not told:
            return None
        total, distinct, references = told["num_reports"], told["num_distinct"], told["num_distinct_references"]
        collapsed = bool(told["collapsed"]) or _are_few(total, distinct, references)
        return cls(total, distinct, references, told["most_common_share"], collapsed)


def _are_few(total: int, distinct: int, references: int | None) -> bool:
    few = total >= _ALARM_FROM and distinct <= FEW_SHARE * total
    return few and (references is None or 2 * distinct <= references)
