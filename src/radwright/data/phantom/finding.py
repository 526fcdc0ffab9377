"""What a phantom study can show: the kinds of finding, how one is described, and how a description is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from radwright.data.phantom.streams import Stream

Side = Literal["", "left", "right", "both"]

DISEASES: tuple[str, ...] = (
    "cardiomegaly",
    "effusion",
    "edema",
    "consolidation",
    "pneumothorax",
    "nodule",
    "fracture",
)
DEVICES: tuple[str, ...] = ("pacemaker", "central_line", "endotracheal_tube", "chest_tube", "sternal_wires")
KINDS: tuple[str, ...] = DISEASES + DEVICES
"""Every kind of finding; a study shows each kind at most once."""

EXTENTS = ("small", "moderate", "large")
SEVERITIES = ("mild", "moderate", "severe")
ZONES = ("upper zone", "mid zone", "lower zone")
LOBES: Mapping[str, tuple[str, ...]] = {
    "right": ("upper lobe", "middle lobe", "lower lobe"),
    "left": ("upper lobe", "lingula", "lower lobe"),
}
TIPS = ("superior vena cava", "cavoatrial junction", "right atrium")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One finding as the report describes it; every field but ``kind`` may be empty.

    Attributes:
        kind: one of ``KINDS``.
        side: the patient's side; a frontal view shows the right side at the image's left.
        place: lobe, zone, rib or tip position, in the words of this module's constants.
        size: extent, severity, millimetres, number of leads, or displacement.
    """

    kind: str
    side: Side = ""
    place: str = ""
    size: str = ""

    def plain(self) -> dict[str, str]:
        """The four fields, ready for JSON."""
        return asdict(self)


def draw_finding(kind: str, stream: Stream) -> Finding:
    """Draw the description of a finding of ``kind``; how it looks beyond the words is drawn where it is rendered."""
    return _DRAW[kind](stream)


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th`` ..."""
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _side(stream: Stream, both: float = 0.0) -> Side:
    if stream.unit() < both:
        return "both"
    return "left" if stream.unit() < 0.5 else "right"


def _consolidation(stream: Stream) -> Finding:
    side = _side(stream, both=0.15)
    place = "lower lobe" if side == "both" else stream.choice(LOBES[side])
    return Finding("consolidation", side, place, stream.choice(("patchy", "dense")))


def _fracture(stream: Stream) -> Finding:
    place = f"{stream.choice(('posterior', 'lateral'))} {ordinal(stream.between(4, 8))} rib"
    return Finding("fracture", _side(stream), place, stream.choice(("displaced", "nondisplaced")))


_DRAW: Mapping[str, Callable[[Stream], Finding]] = {
    "cardiomegaly": lambda s: Finding("cardiomegaly", size=s.choice(SEVERITIES)),
    "effusion": lambda s: Finding("effusion", _side(s, both=0.25), size=s.choice(EXTENTS)),
    "edema": lambda s: Finding("edema", size=s.choice(SEVERITIES)),
    "consolidation": _consolidation,
    "pneumothorax": lambda s: Finding("pneumothorax", _side(s), size=s.choice(EXTENTS)),
    "nodule": lambda s: Finding("nodule", _side(s), s.choice(ZONES), f"{s.between(8, 28)} mm"),
    "fracture": _fracture,
    "pacemaker": lambda s: Finding(
        "pacemaker", "right" if s.unit() < 0.2 else "left", size=s.choice(("single lead", "dual lead"))
    ),
    "central_line": lambda s: Finding("central_line", _side(s), s.choice(TIPS)),
    "endotracheal_tube": lambda s: Finding("endotracheal_tube", place="above the carina", size=f"{s.between(2, 7)} cm"),
    "chest_tube": lambda s: Finding("chest_tube", _side(s), s.choice(("apex", "base"))),
    "sternal_wires": lambda s: Finding("sternal_wires"),
}
