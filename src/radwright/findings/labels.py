"""From what a report says to one label per class: CheXpert's 14 observations, and the NIH's 14 classes."""

from __future__ import annotations

from collections.abc import Iterable

from radwright.findings.mention import Mention, ReadReport, Status
from radwright.findings.ontology import CHEXPERT, NIH, NIH_NORMAL, concepts

_RANK = {Status.PRESENT: 2, Status.UNCERTAIN: 1, Status.ABSENT: 0}


def chexpert_labels(read: ReadReport) -> dict[str, int | None]:
    """1 asserted, -1 left open, 0 denied, None not mentioned, for each name in ``CHEXPERT``.

    Of several mentions of a class an assertion counts before an open one, and that before a denial, as in CheXpert.
    "No Finding" is 1 where no other observation but Support Devices is asserted or left open, and else None; it is None
    for a text without a sentence.
    """
    return {name: None if deciding is None else int(deciding.status) for name, deciding in _chexpert(read).items()} | {
        "No Finding": _no_finding(read)
    }


def chexpert_evidence(read: ReadReport) -> dict[str, Mention]:
    """The mention that decides each class that is mentioned: the first of those with the strongest status."""
    return {name: mention for name, mention in _chexpert(read).items() if mention is not None}


def _chexpert(read: ReadReport) -> dict[str, Mention | None]:
    known = concepts()
    said = (mention for mention in read.mentions if not _is_half_clear(mention))
    return _strongest(((known[mention.concept].chexpert, mention) for mention in said), CHEXPERT)


def _is_half_clear(mention: Mention) -> bool:
    """ "The left lung is clear" says nothing of the other one."""
    is_clear = mention.concept == "lung_opacity" and mention.status is Status.ABSENT and mention.cue is None
    return is_clear and len(mention.sides) == 1


def _strongest(pairs: Iterable[tuple[str, Mention]], names: tuple[str, ...]) -> dict[str, Mention | None]:
    found: dict[str, Mention | None] = dict.fromkeys(names)
    for name, mention in pairs:
        if name:
            before = found[name]
            if before is None or _RANK[mention.status] > _RANK[before.status]:
                found[name] = mention
    return found


def _no_finding(read: ReadReport) -> int | None:
    if not read.sentences:
        return None
    for name, mention in _chexpert(read).items():
        if name != "Support Devices" and mention is not None and mention.status != Status.ABSENT:
            return None
    return 1


def nih_labels(read: ReadReport) -> dict[str, int]:
    """1 or 0 for each name in ``NIH`` and for ``NIH_NORMAL``.

    Those files have no open label: what a report calls likely counts as present, as with those who coded the Open-i
    reports ("possible" and "may represent" do not). ``normal`` is 1 where nothing at all is asserted or called likely,
    devices and traces of surgery included; it is 0 for a text without a sentence.
    """
    evidence = nih_evidence(read)
    is_normal = bool(read.sentences) and not any(map(_counts, read.mentions))
    return {name: int(name in evidence) for name in NIH} | {NIH_NORMAL: int(is_normal)}


def nih_evidence(read: ReadReport) -> dict[str, Mention]:
    """The first mention that makes each class present."""
    known = concepts()
    found: dict[str, Mention] = {}
    for mention in read.mentions:
        name = known[mention.concept].nih
        if name and _counts(mention):
            found.setdefault(name, mention)
    return found


def _counts(mention: Mention) -> bool:
    return mention.status is Status.PRESENT or mention.likely
