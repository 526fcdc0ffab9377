"""The phantom's config: how many studies, how often each finding is there, and what goes along with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from radwright.config import Config
from radwright.data.phantom.finding import DEVICES, KINDS
from radwright.errors import near
from radwright.types import SPLITS, Split

PREVALENCE: Mapping[str, float] = {
    "cardiomegaly": 0.30,
    "effusion": 0.28,
    "edema": 0.20,
    "consolidation": 0.25,
    "pneumothorax": 0.12,
    "nodule": 0.14,
    "fracture": 0.10,
    "pacemaker": 0.15,
    "central_line": 0.15,
    "endotracheal_tube": 0.10,
    "chest_tube": 0.08,
    "sternal_wires": 0.12,
}
MARKERS = ("L", "P", "S", "X")
"""Glyphs that can be burned into a corner."""
PHRASES = ("portable", "rotated", "degenerative", "comparison", "fall", "cough")
"""Harmless sentences by name; their wordings are in ``lexicon.py``."""


class Confounder(Config):
    """A device, marker or phrase that goes along with a finding although it neither causes it nor shows it.

    With p the cause's rate and q the effect's own, P(effect | cause) = q + rho (b - q), where b is the largest
    (rho > 0) or smallest (rho < 0; then rho counts by its absolute value) value that p and q allow: min(1, q / p) or
    max(0, (p + q - 1) / p). Both rates are kept whatever rho is, so a split with another rho shifts nothing else.
    Where ``rate`` is left out (q = p), rho = 1 means always together and never without, and rho is their correlation.
    """

    kind: Literal["device", "marker", "phrase"]
    """What goes along with the finding."""
    name: str
    """Which: a device's kind, a marker's glyph, or a phrase's name."""
    cause: str
    """The finding's kind."""
    rho: Mapping[Split, float] = Field(default_factory=dict)
    """Strength per split, from -1 (never together) over 0 (independent) to 1 (always together); 0 where not named."""
    rate: float | None = Field(default=None, ge=0, le=1)
    """The effect's own rate; the cause's prevalence where left out. It replaces the rate given elsewhere."""

    @property
    def element(self) -> str:
        """The element's name, as in ``PhantomStudy.elements``."""
        return self.name if self.kind == "device" else f"{self.kind}:{self.name}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = {"device": DEVICES, "marker": MARKERS, "phrase": PHRASES}[self.kind]
        if self.name not in known:
            raise ValueError(f"no {self.kind} {self.name!r}{near(self.name, known)}; known: {', '.join(known)}")
        if self.cause not in KINDS:
            raise ValueError(f"no finding {self.cause!r}{near(self.cause, KINDS)}; known: {', '.join(KINDS)}")
        if self.cause == self.name:
            raise ValueError(f"{self.name!r} cannot go along with itself")
        for split, rho in self.rho.items():
            if not -1 <= rho <= 1:
                raise ValueError(f"rho of {split} is {rho}: it must lie in [-1, 1]")
        return self


class PhantomConfig(Config):
    """A made-up population of patients with one study each."""

    seed: int = 0
    """Another seed is another population."""
    size_px: int = Field(default=128, ge=32, le=1024)
    """Side of the square views in pixels."""
    bits: Literal[8, 16] = 8
    """Bits per pixel: uint8 or uint16 arrays and PNG files."""
    num_studies: Mapping[Split, int] = Field(default={"train": 2000, "val": 200, "test": 300})
    """Studies per split, each of a patient of its own; ``prepare`` cuts ``tune`` out of train where it has none."""
    prevalence: Mapping[str, float] = Field(default=dict(PREVALENCE))
    """Rate of each kind of finding in [0, 1]; kinds not named keep their default. Findings are independent."""
    markers: Mapping[str, float] = Field(default={"L": 0.5})
    """Rate of each corner marker in [0, 1]; markers not named are absent. No report speaks of them."""
    phrases: Mapping[str, float] = Field(
        default={"portable": 0.1, "rotated": 0.08, "degenerative": 0.15, "comparison": 0.1}
    )
    """Rate of each harmless sentence in [0, 1]; phrases not named are absent."""
    confounders: tuple[Confounder, ...] = ()
    """What goes along with what; at most one per device, marker or phrase."""
    variety: float = Field(default=1.0, ge=0, le=1)
    """Chance that a statement is worded freely rather than by its first wording; 0 gives every fact one wording."""
    phrases_first: bool = False
    """Harmless sentences open the findings section; False: they stand where the order of topics has them."""
    versions: Mapping[str, Mapping[str, bool]] = Field(default_factory=dict)
    """Name -> elements that are set from outside (Pearl's do): ``{with: {pacemaker: true}, without: {pacemaker:
    false}}``. Every study is then there once per version, and its versions differ in nothing else; empty: once, as
    drawn."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, rates, known in (
            ("prevalence", self.prevalence, KINDS),
            ("markers", self.markers, MARKERS),
            ("phrases", self.phrases, PHRASES),
        ):
            for key, rate in rates.items():
                if key not in known:
                    raise ValueError(f"{name}: unknown {key!r}{near(key, known)}; known: {', '.join(known)}")
                if not 0 <= rate <= 1:
                    raise ValueError(f"{name}.{key} = {rate}: a rate lies in [0, 1]")
        for split, num in self.num_studies.items():
            if num < 0:
                raise ValueError(f"num_studies.{split} = {num}: it cannot be negative")
        for version, elements in self.versions.items():
            for element in elements:
                if element not in (known := tuple(self.elements())):
                    raise ValueError(f"versions.{version}: unknown {element!r}{near(element, known)}")
        effects = [confounder.element for confounder in self.confounders]
        for effect in effects:
            if effects.count(effect) > 1:
                raise ValueError(f"confounders: {effect!r} has two causes; leave one")
        for confounder in self.confounders:
            if confounder.cause in effects:
                raise ValueError(
                    f"confounders: {confounder.cause!r} is itself an effect; name its cause for {confounder.element!r}"
                )
        return self

    def rate(self, element: str) -> float:
        """How often an element (a kind of finding, ``marker:L``, ``phrase:fall``) is there, over all studies."""
        for confounder in self.confounders:
            if confounder.element == element:
                return self.rate(confounder.cause) if confounder.rate is None else confounder.rate
        kind, _, name = element.partition(":")
        if not name:
            return self.prevalence.get(kind, PREVALENCE[kind])
        return (self.markers if kind == "marker" else self.phrases).get(name, 0.0)

    def elements(self) -> Iterator[str]:
        """Every element that a study of this config can have: findings first, then markers and phrases."""
        yield from KINDS
        yield from (f"marker:{name}" for name in MARKERS)
        yield from (f"phrase:{name}" for name in PHRASES)

    def splits(self) -> tuple[Split, ...]:
        """The splits that have studies, in the order of ``radwright.types.SPLITS``."""
        return tuple(split for split in SPLITS if self.num_studies.get(split, 0))
