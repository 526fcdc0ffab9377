"""Synthetic chest radiographs with exact labels, masks and reports, and a confounding knob."""

from radwright.data.phantom.finding import DEVICES, DISEASES, KINDS, Finding
from radwright.data.phantom.parse import finding_labels, findings_of
from radwright.data.phantom.settings import Confounder, PhantomConfig
from radwright.data.phantom.sheet import contact_sheet
from radwright.data.phantom.study import PhantomStudy, draw_elements, generate_study

__all__ = [
    "DEVICES",
    "DISEASES",
    "KINDS",
    "Confounder",
    "Finding",
    "PhantomConfig",
    "PhantomStudy",
    "contact_sheet",
    "draw_elements",
    "finding_labels",
    "findings_of",
    "generate_study",
]
