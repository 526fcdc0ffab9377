"""The ontology: concepts that reports name, and how each counts in the class lists of CheXpert and NIH."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

CHEXPERT: tuple[str, ...] = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The 14 observations of CheXpert (Irvin et al., AAAI 2019), in the order of its label files."""
CHEXPERT_5: tuple[str, ...] = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The five that CheXpert's competition scored."""
NIH: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The 14 classes of NIH ChestX-ray14 (Wang et al., CVPR 2017), spelt as in the label files of NegBio."""
NIH_NORMAL = "normal"
"""Those files' name for a report without any abnormality, of these classes or another."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that a report can name.

    Attributes:
        id: the key in ``ontology.toml``.
        name: readable.
        parent: id of the broader concept that it also is, or ``""``.
        chexpert: the observation of CheXpert that it counts for, or ``""``.
        nih: the NIH class that it counts for, or ``""``.
        importance: 4 urgent, 3 significant, 2 minor, 1 incidental, and between (ours).
        lateral: whether a report can name a side for it.
    """

    id: str
    name: str
    importance: float
    parent: str = ""
    chexpert: str = ""
    nih: str = ""
    lateral: bool = False


@cache
def concepts() -> Mapping[str, Concept]:
    """Every concept by its id, in the order of the file."""
    text = resources.files("radwright.findings").joinpath("ontology.toml").read_text(encoding="utf-8")
    return {key: Concept(id=key, **values) for key, values in tomllib.loads(text).items()}


def concept(concept_id: str) -> Concept:
    """One concept. Raises KeyError for an unknown id."""
    return concepts()[concept_id]


@cache
def ancestors(concept_id: str) -> tuple[str, ...]:
    """Ids of the broader concepts that this one also is, nearest first."""
    parent = concept(concept_id).parent
    return (parent, *ancestors(parent)) if parent else ()
