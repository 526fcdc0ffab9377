"""Reads a report: which findings it asserts, denies or leaves open, and with which words.

Rules over a lexicon, no weights: sentences are cut, phrases found, and each finding takes the status that the cues
around it give it. The scope rules follow NegEx (Chapman et al., 2001) and its use for chest X-rays (NegBio, Peng et
al., 2018; CheXpert, Irvin et al., 2019): a cue reaches to the end of its clause, lists share one cue. The lexicon, the
composition of organs with states ("heart size ... within normal limits") and the rules for clauses are ours.
"""

from __future__ import annotations

from radwright.findings.clauses import Reading
from radwright.findings.lexicon import Kind, lexicon
from radwright.findings.mention import Mention, ReadReport, Status
from radwright.findings.sentence import Draft, Sentence
from radwright.findings.tokens import Word, find_phrases, split_words


def read_report(text: str) -> ReadReport:
    """Read one report, as written or cleaned; upper and lower case are the same, and no text is an error.

    Args:
        text: any text. The result's offsets are into it.
    """
    words_known = lexicon()
    sentences = []
    mentions: list[Mention] = []
    comparisons: list[tuple[int, int]] = []
    named_last = ""
    for number, words in enumerate(split_words(text)):
        sentences.append((words[0].start, words[-1].end))
        phrases = list(find_phrases(words, words_known.root))
        if not phrases:
            continue
        comparisons += [
            (words[phrase.first].start, words[phrase.last].end) for phrase in phrases if phrase.kind is Kind.COMPARISON
        ]
        drafts = Reading(Sentence(words, phrases), words_known.compositions, named_last).read()
        mentions += [_mention(draft, words, number) for draft in drafts]
        named_last = drafts[-1].concept if drafts else ""
    return ReadReport(text, tuple(sentences), tuple(mentions), tuple(comparisons))


def _mention(draft: Draft, words: list[Word], sentence: int) -> Mention:
    cue = draft.cue
    return Mention(
        draft.concept,
        draft.status,
        words[draft.first].start,
        words[draft.last].end,
        None if cue is None else (words[cue.first].start, words[cue.last].end),
        sentence,
        frozenset(draft.sides),
        draft.severity,
        draft.change,
        draft.likely and draft.status is Status.UNCERTAIN,
        frozenset(draft.zones),
    )
