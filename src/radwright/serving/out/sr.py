"""A study's report as a DICOM Basic Text SR, with pydicom: who, what, which images, complete and verified or not.

Source: DICOM PS3.3 A.35.1 (the object), C.17 (its modules), PS3.16 template 2000 (its content).
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from radwright import __version__
from radwright.errors import OutputError, require
from radwright.serving.out import values
from radwright.serving.out.codes import PROCESSING, Code
from radwright.serving.out.content import MANUFACTURER, UNREAD, ImageReference, Item, content_of, image_references
from radwright.serving.records import LABEL, ModelIdentity, ReportedStudy, Signature

# Values are held to DICOM's rules before they come here; what pydicom still finds odd is the images' own (UIDs).
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_TEMPLATE = "2000"


def structured_report(reported: ReportedStudy) -> bytes:
    """The report as a DICOM file; the same bytes for the same study, report and version of this software.

    Signed: COMPLETE, VERIFIED, with the verifying observer. Unsigned: PARTIAL, UNVERIFIED, ``LABEL`` in front of the
    text, in the series' description and with the completion flag. With addenda: all of it once more, each addendum a
    section with its own observer, and the document before as its predecessor. Dates and times of the report are UTC.

    Raises:
        OutputError: a field cannot be kept as it is, or the signature is not of this text.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom")
    written = values.moment(reported.written_at, "written_at")
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = BASIC_TEXT_SR
    dataset.SOPInstanceUID = _needed_uid(reported.document_uid, "document_uid")
    _add_patient_and_study(dataset, reported)
    _add_series_and_equipment(dataset, reported, pydicom)
    _add_document(dataset, reported, written, pydicom)
    root = content_of(reported)
    for element in _item(root, pydicom):
        dataset.add(element)
    template = pydicom.Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", _TEMPLATE
    dataset.ContentTemplateSequence = [template]
    return _bytes(dataset, pydicom)


def _needed_uid(value: str, field: str) -> str:
    if found := values.uid(value, field):
        return found
    raise OutputError(f"{field}: is empty; the report needs a UID of its own")


def _add_patient_and_study(dataset: Any, reported: ReportedStudy) -> None:
    """The modules that tie the report to the patient and the study: as they came, empty where they are not known."""
    study = reported.study
    dataset.PatientName = values.person(study.patient_name, "patient_name")
    dataset.PatientID = values.exact(study.patient_id, "patient_id")
    dataset.PatientBirthDate = values.day(study.birth_date)
    dataset.PatientSex = values.sex(study.sex)
    dataset.StudyInstanceUID = values.study_uid_of(study.id, study.study_uid)
    dataset.StudyDate = values.day(study.study_date)
    dataset.StudyTime = values.clock(study.study_time)
    dataset.StudyID = values.exact(study.study_id, "study_id", 16)
    dataset.AccessionNumber = values.exact(study.accession, "accession", 16)
    dataset.ReferringPhysicianName = values.person(study.referring_physician, "referring_physician")
    if description := values.line(study.description, 64):
        dataset.StudyDescription = description


def _add_series_and_equipment(dataset: Any, reported: ReportedStudy, pydicom: Any) -> None:
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = _needed_uid(reported.series_uid, "series_uid")
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "Report" if reported.signature else f"{LABEL}, unsigned"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.Manufacturer = MANUFACTURER
    dataset.SoftwareVersions = values.line(__version__, 64)
    if reported.draft is not None:
        dataset.ContributingEquipmentSequence = [_network(reported.draft.model, reported.draft.created_at, pydicom)]


def _network(model: ModelIdentity, created_at: str, pydicom: Any) -> Any:
    """The network that drafted, as contributing equipment."""
    network = pydicom.Dataset()
    network.Manufacturer = MANUFACTURER
    network.ManufacturerModelName = values.line(f"{model.method} {model.name}", 64)
    network.DeviceSerialNumber = values.line(model.weights, 64)
    network.SoftwareVersions = values.line(model.radwright, 64)
    network.ContributionDateTime = _stamp(values.moment(created_at, "draft.created_at"))
    settings = json.dumps({**model.decoding, **model.settings}, sort_keys=True, ensure_ascii=False, default=str)
    description = f"Drafted the report. Weights SHA-256 {model.weights}. {settings}"
    network.ContributionDescription = values.line(description, 1024)
    network.PurposeOfReferenceCodeSequence = [_code(PROCESSING, pydicom)]
    return network


def _add_document(dataset: Any, reported: ReportedStudy, written: datetime, pydicom: Any) -> None:
    """SR Document General: state, times, who verified, and the images that the report rests on."""
    signature = reported.signature
    signed = [*([signature] if signature else []), *reported.addenda]
    dataset.InstanceNumber = signed[-1].version if signed else reported.draft.number if reported.draft else 1
    dataset.CompletionFlag = "COMPLETE" if signature else "PARTIAL"
    dataset.VerificationFlag = "VERIFIED" if signature else "UNVERIFIED"
    dataset.PreliminaryFlag = "FINAL" if signature else "PRELIMINARY"
    if signature is None:
        dataset.CompletionFlagDescription = values.line(f"{LABEL}. {UNREAD}", 64)
    else:
        dataset.VerifyingObserverSequence = [_verifying_observer(each, pydicom) for each in signed]
    if reported.predecessor is not None:
        dataset.PredecessorDocumentsSequence = [_predecessor(reported.predecessor, dataset.StudyInstanceUID, pydicom)]
    dataset.ContentDate, dataset.ContentTime = written.strftime("%Y%m%d"), written.strftime("%H%M%S.%f")
    dataset.PerformedProcedureCodeSequence = []
    if images := image_references(reported):
        study = pydicom.Dataset()
        study.StudyInstanceUID = dataset.StudyInstanceUID
        study.ReferencedSeriesSequence = [
            _series(series, [image for image in images if image.series_uid == series], pydicom)
            for series in dict.fromkeys(image.series_uid for image in images)
        ]
        dataset.CurrentRequestedProcedureEvidenceSequence = [study]


def _verifying_observer(signature: Signature, pydicom: Any) -> Any:
    observer = pydicom.Dataset()
    observer.VerifyingOrganization = values.line(signature.organization, 64) or values.NOT_STATED
    observer.VerificationDateTime = _stamp(values.moment(signature.signed_at, "signed_at"))
    observer.VerifyingObserverName = values.signer(signature.observer)
    observer.VerifyingObserverIdentificationCodeSequence = []
    return observer


def _predecessor(document: tuple[str, str], study_uid: str, pydicom: Any) -> Any:
    """The signed document that this one, with another addendum, stands in for (PS3.3 C.17.2)."""
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = BASIC_TEXT_SR
    reference.ReferencedSOPInstanceUID = _needed_uid(document[0], "predecessor")
    series = pydicom.Dataset()
    series.SeriesInstanceUID = _needed_uid(document[1], "predecessor")
    series.ReferencedSOPSequence = [reference]
    study = pydicom.Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _series(series_uid: str, images: Iterable[ImageReference], pydicom: Any) -> Any:
    series = pydicom.Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedSOPSequence = [_reference(image, pydicom) for image in images]
    return series


def _reference(image: ImageReference, pydicom: Any) -> Any:
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.class_uid, image.instance_uid
    return reference


def _code(code: Code, pydicom: Any) -> Any:
    coded = pydicom.Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = code
    return coded


def _item(item: Item, pydicom: Any) -> Any:
    """A content item and those below it as a dataset."""
    made = pydicom.Dataset()
    if item.relation:
        made.RelationshipType = item.relation
    made.ValueType = item.kind
    if item.name is not None:
        made.ConceptNameCodeSequence = [_code(item.name, pydicom)]
    if item.kind == "CONTAINER":
        made.ContinuityOfContent = "SEPARATE"
    elif item.kind == "TEXT":
        made.TextValue = item.value.replace("\n", "\r\n")
    elif item.kind == "CODE":
        made.ConceptCodeSequence = [_code(item.value, pydicom)]
    elif item.kind == "PNAME":
        made.PersonName = item.value
    elif item.kind == "UIDREF":
        made.UID = item.value
    else:
        made.ReferencedSOPSequence = [_reference(item.value, pydicom)]
    if item.items:
        made.ContentSequence = [_item(each, pydicom) for each in item.items]
    return made


def _stamp(time: datetime) -> str:
    """A DICOM date-time in UTC that says so."""
    return time.strftime("%Y%m%d%H%M%S.%f") + "+0000"


def _bytes(dataset: Any, pydicom: Any) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    meta.ImplementationClassUID = values.derived_uid("implementation")
    meta.ImplementationVersionName = "RADWRIGHT"
    dataset.file_meta = meta
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
