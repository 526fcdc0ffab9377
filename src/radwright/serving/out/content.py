"""The content tree of the structured report, after template 2000 (Basic Diagnostic Imaging Report), as plain values.

Holds what the report says and what is known of study, observers and network, and nothing else.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from radwright.errors import OutputError
from radwright.serving.out import codes
from radwright.serving.out.codes import Code
from radwright.serving.out.values import block, derived_uid, exact, line, signer, study_uid_of, uid
from radwright.serving.records import LABEL, ModelIdentity, ReportedStudy, Signature
from radwright.text.sections import cut_sections
from radwright.text.sentences import sentence_ends

MANUFACTURER = "Radwright"
NO_TEXT = "There is no text."
UNREAD = "No radiologist has signed this text."
MARK = "Uncertain, to be checked"
Relation = Literal["", "CONTAINS", "HAS OBS CONTEXT", "HAS CONCEPT MOD"]


@dataclass(frozen=True, slots=True)
class Item:
    """One content item.

    Attributes:
        relation: to the item above; empty for the root.
        kind: DICOM's value type.
        name: what the value is of; None of an image.
        value: a Code (CODE), a text (TEXT, PNAME, UIDREF), an ImageReference (IMAGE), or None (CONTAINER).
        items: below it, in order.
    """

    relation: Relation
    kind: Literal["CONTAINER", "TEXT", "CODE", "PNAME", "UIDREF", "IMAGE"]
    name: Code | None
    value: Any = None
    items: tuple[Item, ...] = ()


def check(reported: ReportedStudy) -> None:
    """Refuse what no export may be made of.

    Raises:
        OutputError: the signature is of another text, by nobody, or of no text.
    """
    signature = reported.signature
    if signature is None:
        return
    if signature.text != reported.text:
        raise OutputError("signature: was given to another text than the report's; sign this version")
    if not line(signature.observer):
        raise OutputError("observer: is empty; a signature needs the name of who signed")
    if not block(reported.text):
        raise OutputError("report: is empty; a signed report needs a text")
    for number, addendum in enumerate(reported.addenda):
        if not (line(addendum.observer) and block(addendum.text)):
            raise OutputError(f"addenda[{number}]: has no text, or nobody signed it")


class ImageReference(NamedTuple):
    """What DICOM calls an image by."""

    class_uid: str
    instance_uid: str
    series_uid: str


def doubts(reported: ReportedStudy) -> list[str]:
    """Of an unsigned text, what the network's calibration holds for uncertain, a line each; a signature settles it."""
    if reported.signature is not None or reported.draft is None:
        return []
    standing = " ".join(reported.text.split())
    uncertain = (" ".join(each.text.split()) for each in reported.draft.sentences if not each.kept)
    return [f"{MARK}: {sentence}" for sentence in dict.fromkeys(uncertain) if sentence and sentence in standing]


def image_references(reported: ReportedStudy) -> list[ImageReference]:
    """The images that DICOM can name, in order: those of a DICOM study, with class, series and instance.

    Raises:
        OutputError: one of their UIDs is none.
    """
    if not reported.study.study_uid.strip(" \0"):
        return []
    found = []
    for image in reported.images:
        named = ImageReference(
            uid(image.sop_class_uid, f"images[{image.place}].sop_class_uid"),
            uid(image.sop_instance_uid, f"images[{image.place}].sop_instance_uid"),
            uid(image.series_uid, f"images[{image.place}].series_uid"),
        )
        if all(named) and named not in found:
            found.append(named)
    return found


def content_of(reported: ReportedStudy) -> Item:
    """The tree: language, observers, study, procedure, indication, then the report's own sections.

    Of an unsigned text the label comes first, above all sections and again in each of the report's own, for readers
    that show one alone. A text without headings is all findings; one item per sentence.

    Raises:
        OutputError: as ``check``, or a field cannot be kept.
    """
    check(reported)
    study = reported.study
    items = [Item("HAS CONCEPT MOD", "CODE", codes.LANGUAGE, _language(reported.text))]
    items += _observers(reported.signature, None if reported.draft is None else reported.draft.model)
    items.append(Item("HAS OBS CONTEXT", "UIDREF", codes.STUDY_UID, study_uid_of(study.id, study.study_uid)))
    if accession := exact(study.accession, "accession", 16):
        items.append(Item("HAS OBS CONTEXT", "TEXT", codes.ACCESSION, accession))
    if reported.signature is None:
        items += [_text(codes.COMMENT, text) for text in (f"{LABEL}. {UNREAD}", *doubts(reported))]
    for heading, concept, text in (
        (codes.CURRENT_PROCEDURE, codes.PROCEDURE_DESCRIPTION, block(study.description)),
        (codes.INDICATIONS, codes.INDICATIONS, block(study.indication)),
    ):
        if text:
            items.append(_section(heading, [_text(concept, text)]))
    items += _report(reported)
    items += [_addendum(addendum) for addendum in reported.addenda]
    return Item("", "CONTAINER", codes.XRAY_REPORT, None, tuple(items))


def _addendum(addendum: Signature) -> Item:
    """A section of its own, with its own observer."""
    who = [
        Item("HAS OBS CONTEXT", "CODE", codes.OBSERVER_TYPE, codes.PERSON),
        Item("HAS OBS CONTEXT", "PNAME", codes.PERSON_NAME, signer(addendum.observer)),
    ]
    if organization := line(addendum.organization):
        who.append(Item("HAS OBS CONTEXT", "TEXT", codes.PERSON_ORGANIZATION, organization))
    return _section(codes.ADDENDUM, [*who, *(_text(codes.ADDENDUM, each) for each in sentences(block(addendum.text)))])


def _text(concept: Code, text: str) -> Item:
    return Item("CONTAINS", "TEXT", concept, text)


def _section(heading: Code, items: list[Item]) -> Item:
    return Item("CONTAINS", "CONTAINER", heading, None, tuple(items))


def _language(text: str) -> Code:
    """English, the language of drafts; undetermined where most letters are no Latin ones."""
    letters = [each for each in text if each.isalpha()]
    latin = sum(1 for each in letters if each.isascii() or unicodedata.name(each, "").startswith("LATIN"))
    return codes.ENGLISH if 2 * latin >= len(letters) else codes.UNDETERMINED


def _observers(signature: Signature | None, model: ModelIdentity | None) -> list[Item]:
    """Who signed, then the network that drafted (TID 1002 to 1004)."""
    told: list[tuple[Literal["TEXT", "CODE", "PNAME", "UIDREF"], Code, Code | str]] = []
    if signature is not None:
        told.append(("CODE", codes.OBSERVER_TYPE, codes.PERSON))
        told.append(("PNAME", codes.PERSON_NAME, signer(signature.observer)))
        told.append(("TEXT", codes.PERSON_ORGANIZATION, line(signature.organization)))
    if model is not None:
        told.append(("CODE", codes.OBSERVER_TYPE, codes.DEVICE))
        told.append(("UIDREF", codes.DEVICE_UID, derived_uid("weights", model.weights)))
        told.append(("TEXT", codes.DEVICE_NAME, line(model.name)))
        told.append(("TEXT", codes.DEVICE_MANUFACTURER, MANUFACTURER))
        told.append(("TEXT", codes.DEVICE_MODEL, line(model.method)))
        told.append(("TEXT", codes.DEVICE_SERIAL, line(model.weights)))
    return [Item("HAS OBS CONTEXT", kind, concept, value) for kind, concept, value in told if value]


def _report(reported: ReportedStudy) -> list[Item]:
    """The text's sections as containers, in its order; the images stand with the first findings.

    What stands under a heading that has no code of the same meaning ("Comparison") is a comment, heading and all.
    """
    sections: list[tuple[Code | None, list[Item]]] = []
    for heading, _, text in cut_sections(block(reported.text)):
        coded = codes.SECTIONS.get(heading.upper()) if heading else (codes.FINDINGS, codes.FINDING)
        if coded is None:
            whole = f"{heading}: {' '.join(text.split())}" if text else heading
            sections.append((None, [_text(codes.COMMENT, whole)]))
        elif texts := [_text(coded[1], sentence) for sentence in sentences(text)]:
            sections.append((coded[0], texts))
    images = [Item("CONTAINS", "IMAGE", None, image) for image in image_references(reported)]
    findings = next((texts for container, texts in sections if container == codes.FINDINGS), None)
    if findings is None and (images or not (sections or reported.signature)):
        findings = []
        sections.insert(0, (codes.FINDINGS, findings))
    if findings is not None:
        if not (block(reported.text) or reported.signature):
            findings.append(_text(codes.COMMENT, NO_TEXT))
        findings += images
    if reported.signature is None:
        for container, texts in sections:
            if container is not None:
                texts.insert(0, _text(codes.COMMENT, LABEL))
    items: list[Item] = []
    for container, texts in sections:
        items += texts if container is None else [_section(container, texts)]
    return items


def sentences(text: str) -> list[str]:
    """The sentences of a text, line by line, in order, nothing left out but white space."""
    found = []
    for each in text.splitlines():
        start = 0
        for end in [*sentence_ends(each), len(each)]:
            if sentence := " ".join(each[start:end].split()):
                found.append(sentence)
            start = end
    return found
