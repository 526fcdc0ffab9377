"""Reads findings out of a report: exactly for the phantom's grammar, sensibly for imperfect drafts in its language.

Works on readable and on lower-cased cleaned text. A sentence that names no kind of finding says nothing here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from radwright.data.phantom.finding import KINDS, LOBES, ORDINALS, Finding, Side, ordinal
from radwright.data.phantom.lexicon import PLACE_WORDS, SCALE_OF, SIZE_WORDS

_END = re.compile(r"[.;!?](?!\d)|\n\s*\n")
_DROPPED = re.compile(r"[^a-z0-9]+")
_MENTION = re.compile(
    r"\b(?:"
    r"(?P<effusion>(?<!pericardial )effusions?|pleural fluid)"
    r"|(?P<pneumothorax>pneumothora(?:x|ces))"
    r"|(?P<cardiomegaly>cardiomegaly|enlarg(?:ed|ement))"
    r"|(?P<nodule>nodul(?:es?|ar))"
    r"|(?P<consolidation>consolidations?|(?:air ?space|lobe|base|lingula) (?:opacity|opacities|disease)|pneumonia)"
    r"|(?P<edema>edema|vascular congestion)"
    r"|(?P<fracture>fractured?|fractures)"
    r"|(?P<pacemaker>pacemakers?|pacing device)"
    r"|(?P<central_line>central (?:venous )?(?:catheter|line)s?)"
    r"|(?P<endotracheal_tube>endotracheal tubes?|et tubes?)"
    r"|(?P<chest_tube>(?:chest|thoracostomy) tubes?|pleural drains?)"
    r"|(?P<sternal_wires>stern(?:al|otomy) wires|sternotomy)"
    r")\b"
)
_HEART = re.compile(r"\b(?:heart|cardiac|cardiomediastinal)\b")
_NO_CHANGE = re.compile(
    r"\b(?:no|not|without) (?:(?:any|significant|significantly|relevant|interval|substantial) )*"
    r"(?:change|changed|increase|increased|decrease|decreased)\b"
)
_SEEN = r"(?:seen|identified|present|visuali[sz]ed|evident|appreciated|demonstrated|noted|observed)"
_DENIES_NEXT = re.compile(rf"\b(?:no(?! longer)|without|neither|nor|negative for|free of|absence of|not(?! {_SEEN}))\b")
_DENIES_LAST = re.compile(
    rf"\b(?:(?:not|no longer) {_SEEN}|absent|(?:has|have) (?:resolved|cleared)|ruled out|excluded)\b"
)
_TURN = re.compile(r"\b(?:but|however|although|though|while|whereas|except|there (?:is|are))\b")
_JOIN = re.compile(r"\b(?:and|with|but|however|although|though|while|whereas|there (?:is|are)|or|nor)\b")
_CHAMBER = re.compile(r"\bright (?:atrium|atrial|ventricle|ventricular)\b")
_SIDE = re.compile(r"\b(left|lingula|lingular)|\b(right)\b|\b(bilateral|bilaterally|both|bibasilar)\b")
_SIDELESS = frozenset({"cardiomegaly", "edema", "endotracheal_tube", "sternal_wires"})
_RIB = re.compile(
    rf"\b(?:(\d+)(?:st|nd|rd|th)|({'|'.join(ORDINALS)}))\b",
)


def _pattern(words: Mapping[str, tuple[str, ...]]) -> list[tuple[str, re.Pattern[str]]]:
    """Canonical word -> a pattern of all its words, adverbs and plurals included."""
    return [
        (name, re.compile(r"\b(?:" + "|".join(_normal(option) for option in options) + r")(?:ly|s)?\b"))
        for name, options in words.items()
    ]


def _normal(text: str) -> str:
    return _DROPPED.sub(" ", text.lower()).strip()


_SIZES = {
    kind: _pattern({size: (size, *options) for size, options in SIZE_WORDS[scale].items()})
    for kind, scale in SCALE_OF.items()
}
_PLACES = {
    kind: _pattern({place: (place, *options) for place, options in words.items()})
    for kind, words in PLACE_WORDS.items()
}
_MEASURES = {"nodule": re.compile(r"\b(\d+) ?(mm)\b"), "endotracheal_tube": re.compile(r"\b(\d+) ?(cm)\b")}


def findings_of(report: str) -> tuple[Finding, ...]:
    """The findings that a report asserts, in the order of ``KINDS``, one per kind.

    What a report says twice is merged: the first word on place and size counts, two different sides are both. What it
    does not say of a finding is empty. For the findings section of a phantom study, alone or followed by the
    impression, this is exactly ``PhantomStudy.findings``.
    """
    found: dict[str, Finding] = {}
    for finding in _assertions(report):
        earlier = found.get(finding.kind)
        found[finding.kind] = finding if earlier is None else _merged(earlier, finding)
    return tuple(found[kind] for kind in KINDS if kind in found)


def finding_labels(report: str) -> dict[str, bool]:
    """Kind of finding -> whether the report asserts it, for every kind in ``KINDS``."""
    present = {finding.kind for finding in _assertions(report)}
    return {kind: kind in present for kind in KINDS}


def _assertions(report: str) -> Iterator[Finding]:
    for part in _END.split(report.lower()):
        sentence = _NO_CHANGE.sub(" ", _DROPPED.sub(" ", part))
        mentions = [
            (match.start(), match.end(), str(match.lastgroup))
            for match in _MENTION.finditer(sentence)
            if not match[0].startswith("enlarg") or _HEART.search(sentence)
        ]
        if not mentions:
            continue
        denied = _denied(sentence)
        cuts = [0, *(_cut(sentence, a[1], b[0]) for a, b in itertools.pairwise(mentions)), len(sentence)]
        for number, (start, end, kind) in enumerate(mentions):
            if not any(low <= start and end <= high for low, high in denied):
                yield _described(kind, sentence[cuts[number] : cuts[number + 1]])


def _denied(sentence: str) -> list[tuple[int, int]]:
    """Stretches of a sentence in which findings are said to be absent (after NegEx, Chapman et al. 2001)."""
    turns = [match.start() for match in _TURN.finditer(sentence)]
    after = [
        (match.end(), min((turn for turn in turns if turn >= match.end()), default=len(sentence)))
        for match in _DENIES_NEXT.finditer(sentence)
    ]
    before = [
        (max((turn for turn in turns if turn <= match.start()), default=0), match.start())
        for match in _DENIES_LAST.finditer(sentence)
    ]
    return after + before


def _cut(sentence: str, start: int, end: int) -> int:
    """Where the words of one mention end and those of the next begin."""
    joins = list(_JOIN.finditer(sentence, start, end))
    return joins[-1].start() if joins else start


def _described(kind: str, words: str) -> Finding:
    """The finding of ``kind`` with whatever ``words`` say about it."""
    size = place = ""
    if kind in _MEASURES:
        measure = _MEASURES[kind].search(words)
        size = f"{int(measure[1])} {measure[2]}" if measure else ""
    elif kind in _SIZES:
        size = _first(_SIZES[kind], words)
    if kind == "fracture":
        place = _rib(words)
    elif kind == "endotracheal_tube":
        place = "above the carina" if "above the carina" in words else ""
    elif kind in _PLACES:
        place = _first(_PLACES[kind], words)
    side: Side = "" if kind in _SIDELESS else _side(words)
    if place in LOBES["left"] and place not in LOBES["right"]:
        side = "left"
    return Finding(kind, side, place, size)


def _first(patterns: list[tuple[str, re.Pattern[str]]], words: str) -> str:
    """The canonical word whose pattern comes first, the longer match on a tie."""
    hits = [(match.start(), -match.end(), name) for name, pattern in patterns if (match := pattern.search(words))]
    return min(hits)[2] if hits else ""


def _side(words: str) -> Side:
    left = right = False
    for match in _SIDE.finditer(_CHAMBER.sub(" ", words)):
        left |= bool(match[1] or match[3])
        right |= bool(match[2] or match[3])
    return "both" if left and right else "left" if left else "right" if right else ""


def _rib(words: str) -> str:
    part = re.search(r"\b(posterior|lateral)", words)
    number = _RIB.search(words)
    if not part or not number:
        return ""
    count = int(number[1]) if number[1] else ORDINALS.index(number[2]) + 1
    return f"{part[1]} {ordinal(count)} rib"


def _merged(earlier: Finding, later: Finding) -> Finding:
    side: Side = earlier.side or later.side
    if later.side and later.side != side:
        side = "both"
    return Finding(earlier.kind, side, earlier.place or later.place, earlier.size or later.size)
