"""What the sentences of a draft assert, what its reference bears out, and the draft without some of its sentences.

The text is read by rules (``radwright.findings``); no network is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from radwright.findings import Status, read_report
from radwright.findings.signature import signature

MARK = "uncertain: check"
Place = tuple[int, str]
"""(place of a sentence in its draft, a concept of the ontology that it asserts)."""


def asserted_in(sentences: Sequence[str]) -> tuple[Place, ...]:
    """What each sentence asserts, in order, each finding once per sentence; what is left open is not asserted.

    Args:
        sentences: of one draft; they are read together, as a reader would.
    """
    text, ends = " ".join(sentences), list[int]()
    for sentence in sentences:
        ends.append((ends[-1] + 1 if ends else 0) + len(sentence))
    found = {
        (next(place for place, end in enumerate(ends) if mention.start < end), mention.concept)
        for mention in read_report(text).mentions
        if mention.status is Status.PRESENT
    }
    return tuple(sorted(found))


def borne_out(reference: str, findings: Collection[str]) -> dict[str, bool]:
    """Whether a reference asserts each finding, by its own name or by a narrower one.

    A finding that it leaves open, denies, or calls by a broader or a kindred name is not borne out.
    """
    names = sorted(set(findings))
    return {name: said == 1 for name, said in zip(names, signature(read_report(reference), names), strict=True)}


def sentences_to_withhold(
    sentences: Sequence[str], asserted: Sequence[Place], probabilities: Sequence[float], bar: float
) -> tuple[int, ...]:
    """Places of the sentences that must not stand, so that what stands asserts nothing at or under the bar.

    A sentence is withheld where any finding that it asserts is at or under the bar, and where it asserts, once others
    are gone, what it did not assert before ("It is large.").

    Args:
        sentences: of one draft.
        asserted: what they assert.
        probabilities: of each of ``asserted``.
        bar: in [0, 1].
    """
    # Written so that a probability that is not a number is withheld too.
    under = {place for (place, _), probability in zip(asserted, probabilities, strict=True) if not probability > bar}
    known = set(asserted)
    while True:
        kept = [place for place in range(len(sentences)) if place not in under]
        read = asserted_in([sentences[place] for place in kept])
        strange = {kept[place] for place, finding in read if (kept[place], finding) not in known}
        if not strange:
            return tuple(sorted(under))
        under |= strange


def without(sentences: Sequence[str], withheld: Collection[int]) -> str:
    """The draft without some of its sentences."""
    return " ".join(sentence for place, sentence in enumerate(sentences) if place not in withheld)


def marked(sentences: Sequence[str], withheld: Collection[int]) -> str:
    """The draft with some of its sentences marked as uncertain, before their last period."""
    return " ".join(_marked(text) if place in withheld else text for place, text in enumerate(sentences))


def _marked(sentence: str) -> str:
    bare = sentence.rstrip(".")
    return f"{bare} ({MARK}){sentence[len(bare) :] or '.'}"
