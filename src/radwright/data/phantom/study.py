"""Makes one phantom study: what it shows, its two views, masks and report, all from (seed, split, index) alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from radwright.data.phantom.anatomy import draw_anatomy
from radwright.data.phantom.devices import DEVICE_DRAWINGS, draw_marker
from radwright.data.phantom.film import develop, draw_exposure
from radwright.data.phantom.finding import KINDS, Finding, draw_finding
from radwright.data.phantom.frontal import frontal_view
from radwright.data.phantom.grammar import write_sections
from radwright.data.phantom.lateral import lateral_view
from radwright.data.phantom.lesions import LESIONS
from radwright.data.phantom.overlay import VIEW_NAMES, Chest, Overlay, ViewName
from radwright.data.phantom.settings import PhantomConfig
from radwright.data.phantom.shapes import blur
from radwright.data.phantom.streams import Stream, unit_of
from radwright.errors import ConfigError, near
from radwright.types import ImageInMemory, Split, Study, View

_DRAWINGS = {**LESIONS, **DEVICE_DRAWINGS}


@dataclass(frozen=True, eq=False, slots=True)
class PhantomStudy:
    """A made-up study with everything that is true of it.

    Attributes:
        study_id, patient_id: unique over the splits; every study has its own patient.
        split: the split it belongs to.
        images: view name -> (S, S) uint8 or uint16, bone white.
        findings: what it shows, in the order of ``KINDS``, at most one per kind.
        masks: element -> view name -> (S, S) bool, exactly the pixels that the element may change. Elements that cannot
            be seen (phrases) have none; a view that does not show an element has an empty mask.
        elements: every element -> whether it is there: kinds of finding, ``marker:L``, ``phrase:portable``.
        sections: findings, impression and indication.
    """

    study_id: str
    patient_id: str
    split: Split
    images: Mapping[ViewName, npt.NDArray[Any]]
    findings: tuple[Finding, ...]
    masks: Mapping[str, Mapping[ViewName, npt.NDArray[np.bool_]]]
    elements: Mapping[str, bool]
    sections: Mapping[str, str]

    @property
    def labels(self) -> dict[str, bool]:
        """Kind of finding -> whether it is there, for every kind in ``KINDS``."""
        return {kind: self.elements[kind] for kind in KINDS}

    def study(self) -> Study:
        """The study as every other dataset's: PNG views, report sections; the truth is in ``extra``."""
        views = tuple(
            View(ImageInMemory(f"{self.study_id}/{view}.png", png_bytes(self.images[view])), position=view)
            for view in VIEW_NAMES
        )
        return Study(
            study_id=self.study_id,
            patient_id=self.patient_id,
            split=self.split,
            views=views,
            sections=dict(self.sections),
            extra={
                "findings": [finding.plain() for finding in self.findings],
                "elements": sorted(name for name, there in self.elements.items() if there),
            },
        )


def study_name(split: Split, index: int) -> str:
    """The study's id."""
    return f"{split}-{index:06d}"


def patient_name(split: Split, index: int) -> str:
    """The patient's id."""
    return f"patient-{split}-{index:06d}"


def draw_elements(
    config: PhantomConfig, split: Split, index: int, override: Mapping[str, bool] | None = None
) -> dict[str, bool]:
    """Which elements a study has.

    Args:
        config: rates and confounders.
        split: whose rho counts.
        index: the study within the split, from 0.
        override: element -> whether it is there, set from outside (Pearl's do): what goes along with an element still
            follows what the element would have been by itself.

    Raises:
        ConfigError: an override names no element.
    """

    def happens(name: str, rate: float) -> bool:
        return unit_of(config.seed, split, index, "presence", name) < rate

    effects = {confounder.element: confounder for confounder in config.confounders}
    elements = {name: happens(name, config.rate(name)) for name in config.elements() if name not in effects}
    for name, confounder in effects.items():
        p, q, rho = config.rate(confounder.cause), config.rate(name), confounder.rho.get(split, 0.0)
        with_cause = q
        if 0 < p < 1:
            bound = min(1.0, q / p) if rho >= 0 else max(0.0, (p + q - 1) / p)
            with_cause = q + abs(rho) * (bound - q)
        without = (q - p * with_cause) / (1 - p) if p < 1 else q
        elements[name] = happens(name, with_cause if elements[confounder.cause] else without)
    for name, there in (override or {}).items():
        if name not in elements:
            raise ConfigError(f"override: unknown element {name!r}{near(name, elements)}; known: {', '.join(elements)}")
        elements[name] = there
    return {name: elements[name] for name in config.elements()}


def generate_study(
    config: PhantomConfig, split: Split, index: int, *, override: Mapping[str, bool] | None = None
) -> PhantomStudy:
    """Make one study; the same arguments give the same study in every process.

    Args:
        config: the population.
        split: the split it is drawn for.
        index: which of the split's studies, from 0 (it may exceed the configured number).
        override: elements to set from outside, for pairs that differ in one thing: ``{"nodule": False}``. Nothing
            outside the masks of the overridden elements changes, to the pixel.

    Raises:
        ConfigError: an override names no element.
    """

    def stream_of(name: str) -> Stream:
        return Stream(config.seed, split, index, name)

    elements = draw_elements(config, split, index, override)
    findings = tuple(draw_finding(kind, stream_of(f"{kind} described")) for kind in KINDS if elements[kind])
    anatomy = draw_anatomy(stream_of("anatomy"))
    exposure = draw_exposure(stream_of("exposure"))
    chest = Chest(anatomy, frontal_view(anatomy, config.size_px), lateral_view(anatomy, config.size_px))
    total_VSS = blur(np.stack([chest.frontal.healthy_SS, chest.lateral.healthy_SS]), exposure.blur)
    masks: dict[str, Mapping[ViewName, npt.NDArray[np.bool_]]] = {}
    described = {finding.kind: finding for finding in findings}
    for name, there in elements.items():
        kind, _, glyph = name.partition(":")
        if not there or kind == "phrase":
            continue
        overlay = Overlay(chest)
        if kind == "marker":
            draw_marker(glyph, stream_of(name), chest, overlay)
        else:
            _DRAWINGS[kind](described[kind], stream_of(name), chest, overlay)
        mask_VSS = overlay.apply(total_VSS, exposure.blur)
        masks[name] = dict(zip(VIEW_NAMES, mask_VSS, strict=True))
    noise_VSS = stream_of("noise").gaussian(total_VSS.shape)
    pixels_VSS = develop(total_VSS, exposure, noise_VSS, chest.frontal.frame.grid.x_S, config.bits)
    sections = write_sections(
        findings,
        [name.partition(":")[2] for name, there in elements.items() if there and name.startswith("phrase:")],
        age=stream_of("age").between(24, 88),
        female=anatomy.female,
        variety=config.variety,
        stream_of=stream_of,
        phrases_first=config.phrases_first,
    )
    return PhantomStudy(
        study_id=study_name(split, index),
        patient_id=patient_name(split, index),
        split=split,
        images=dict(zip(VIEW_NAMES, pixels_VSS, strict=True)),
        findings=findings,
        masks=masks,
        elements=elements,
        sections=sections,
    )


def png_bytes(image: npt.NDArray[Any]) -> bytes:
    """A uint8 or uint16 image (S, S) as an 8- or 16-bit gray PNG."""
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=3)
    return encoded.getvalue()
