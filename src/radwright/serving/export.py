"""The formats in which a report leaves the reading room."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from radwright.serving.records import ReportedStudy


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        target: ``module:function`` that writes it, imported when it is asked for.
        media_type: of the file.
        suffix: of its name.
        title: readable.
    """

    target: str
    media_type: str
    suffix: str
    title: str


FORMATS: Mapping[str, Format] = {
    "sr": Format("radwright.serving.out.sr:structured_report", "application/dicom", ".dcm", "DICOM structured report"),
    "fhir": Format("radwright.serving.out.fhir:fhir_bundle", "application/fhir+json", ".json", "FHIR R4 bundle"),
    "text": Format("radwright.serving.out.plain:plain_report", "text/plain; charset=utf-8", ".txt", "plain text"),
}


def export_report(reported: ReportedStudy, format: str) -> bytes:
    """A report in one of ``FORMATS``.

    Raises:
        OutputError: something of it cannot be written in this format.
        MissingExtraError: the library for it is not installed.
    """
    module, _, name = FORMATS[format].target.partition(":")
    write: Callable[[ReportedStudy], bytes] = getattr(importlib.import_module(module), name)
    return write(reported)
