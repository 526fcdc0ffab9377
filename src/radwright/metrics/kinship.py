"""How far one finding's name stands for another's: the ontology's hierarchy, and findings that readers exchange.

Ours: the grades below say how much of a finding is told by a name that is not its own.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from radwright.findings.ontology import ancestors, concept

BROADER, MUCH_BROADER = 0.6, 0.4
"""One level above the finding ("airspace disease" for "consolidation"), and further up ("opacity")."""
KINDRED = 0.5
"""Another kind of the same thing, or a neighbour in ``NEIGHBOURS``."""
DISTANT = 0.25
"""Another kind of opacity."""

SIBLINGS = {"airspace_disease": KINDRED, "lung_lesion": KINDRED, "lung_opacity": DISTANT}
"""Broader concept -> how far its kinds stand for each other; kinds of other concepts (devices, bones) do not."""
APART = frozenset({"lung_lesion"})
"""Broader concepts whose kinds stand for nothing outside: a nodule is not half told by a consolidation."""
NEIGHBOURS: tuple[frozenset[str], ...] = tuple(
    map(
        frozenset,
        (
            ("edema", "congestion"),
            ("heart_failure", "congestion"),
            ("cardiomegaly", "enlarged_cardiomediastinum"),
            ("pleural_effusion", "blunted_costophrenic_angle"),
            ("blunted_costophrenic_angle", "pleural_thickening", "pleural_scarring"),
            ("pleural_thickening", "pleural_scarring", "pleural_plaque"),
            ("atelectasis", "volume_loss"),
            ("emphysema", "copd", "hyperinflation"),
            ("granuloma", "lung_calcification"),
            ("calcified_nodule", "lung_calcification"),
            ("calcified_nodule", "nodule"),
            ("fibrosis", "scarring"),
            ("fibrosis", "interstitial_lung_disease"),
            ("fibrosis", "interstitial_opacity"),
            ("bronchial_thickening", "interstitial_opacity"),
            ("hilar_enlargement", "lymphadenopathy"),
            ("enlarged_cardiomediastinum", "lymphadenopathy"),
            ("fracture", "compression_deformity"),
            ("sternotomy", "sternal_wires", "prior_surgery"),
        ),
    )
)
"""Findings that one shadow is called by different readers."""


@lru_cache(maxsize=1 << 14)
def tells(said: str, meant: str) -> float:
    """How much of the finding ``meant`` is told by the name ``said``, in [0, 1].

    1 for the same finding and for a kind of it, less for a broader or a kindred one, 0 for another.
    """
    if said == meant or meant in ancestors(said):
        return 1.0
    above = ancestors(meant)
    grades = [0.0]
    if said in above:
        grades.append(BROADER if above[0] == said else MUCH_BROADER)
    if any({said, meant} <= group for group in NEIGHBOURS):
        grades.append(KINDRED)
    ours, theirs = {said, *ancestors(said)}, {meant, *above}
    if not APART & (ours ^ theirs):
        common = next((name for name in above if name in ours), "")
        grades.append(SIBLINGS.get(common, 0.0))
    return max(grades)


def told(meant: str, said: Collection[str]) -> tuple[float, list[str]]:
    """The most that any of ``said`` tells of a finding, and those that tell as much; (0, []) where none does."""
    grades = {name: tells(name, meant) for name in sorted(said)}
    most = max(grades.values(), default=0.0)
    return most, [name for name, grade in grades.items() if grade == most] if most else []


def weight(concept_id: str) -> float:
    """What a finding weighs: .5 + .6 of its clinical importance, so 1.1 incidental to 2.9 urgent (ours)."""
    return 0.5 + 0.6 * concept(concept_id).importance
