"""The report of a study over HTTP: edit, versions, sign, export."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from radwright.errors import OutputError
from radwright.serving import audit
from radwright.serving.access import User
from radwright.serving.export import FORMATS, export_report
from radwright.serving.http import wire
from radwright.serving.http.answers import addendum_out, signature_out, version_out
from radwright.serving.http.common import Radiologist, ServerDep, UserDep, failures
from radwright.serving.http.guard import RefusedError
from radwright.serving.http.studies import Id
from radwright.serving.intake import without_controls
from radwright.serving.out.values import signer
from radwright.serving.server import Server

router = APIRouter(prefix="/v1/studies/{study_id}", tags=["reports"])


def _schema(media_type: str) -> dict[str, str]:
    return {"type": "object"} if media_type.endswith("json") else {"type": "string", "format": "binary"}


@router.put("/report", responses=failures(404, 409))
def save_report(server: ServerDep, user: Radiologist, study_id: Id, report: wire.ReportIn) -> wire.SavedOut:
    """Save an edit as the next version, if nobody else has changed the report since ``based_on``."""
    if not server.is_open and report.author not in {None, user.name}:
        message = f"this text was written by {report.author}, and {user.name} is signed in"
        raise RefusedError(409, "other_author", message)
    made = server.room.reports.save(study_id, without_controls(report.text), based_on=report.based_on, author=user.name)
    return wire.SavedOut(version=version_out(made))


@router.get("/versions", responses=failures(404))
def list_versions(server: ServerDep, study_id: Id) -> wire.VersionsOut:
    """Every version of the report: drafts as they came, and edits."""
    return wire.VersionsOut(versions=[version_out(each) for each in server.room.reports.versions(study_id)])


@router.post("/sign", responses=failures(404, 409))
def sign_report(server: ServerDep, user: Radiologist, study_id: Id, wanted: wire.SignIn) -> wire.SignedOut:
    """Sign the newest version; nothing of the study changes after that."""
    observer, organization = _observer(server, user, wanted.observer), server.config.organization
    made = server.room.reports.sign(
        study_id, wanted.version, observer=observer, organization=organization, actor=user.name
    )
    return wire.SignedOut(signature=signature_out(made))


@router.post("/addenda", status_code=201, responses=failures(404, 409))
def add_addendum(server: ServerDep, user: Radiologist, study_id: Id, wanted: wire.AddendumIn) -> wire.AddedOut:
    """Add to a signed report, which itself never changes; what is added is signed at once."""
    observer, organization = _observer(server, user, wanted.observer), server.config.organization
    made = server.room.reports.add(
        study_id,
        without_controls(wanted.text),
        based_on=wanted.based_on,
        observer=observer,
        organization=organization,
        actor=user.name,
    )
    return wire.AddedOut(addendum=addendum_out(made))


def _observer(server: Server, user: User, wanted: str | None) -> str:
    """Whose name stands under a signature: the token's; without tokens, the one that is given.

    Raises:
        RefusedError: none is given, another one than the token's, or one that cannot stand in a DICOM report.
    """
    if not server.is_open and wanted not in {None, user.name}:
        raise RefusedError(409, "other_author", f"{wanted} was to sign, and {user.name} is signed in")
    observer = (wanted or "") if server.is_open else user.name
    try:
        stands = signer(observer)
    except OutputError as error:
        raise RefusedError(422, "invalid", str(error)) from error
    if not stands:
        raise RefusedError(422, "invalid", "observer: give the radiologist's name; it stands under the report")
    return observer


@router.get(
    "/export",
    response_class=Response,
    responses={
        **failures(404, 409),
        200: {
            "description": "the report as a file",
            "content": {kind.media_type: {"schema": _schema(kind.media_type)} for kind in FORMATS.values()},
        },
    },
)
def get_export(
    server: ServerDep,
    user: UserDep,
    study_id: Id,
    format: Annotated[Literal["sr", "fhir", "text"], Query(description="DICOM SR, FHIR R4 or plain text")],
) -> Response:
    """The report as a DICOM structured report, a FHIR bundle or plain text; unsigned ones say so."""
    reported = server.room.reports.reported(study_id)
    kind = FORMATS[format]
    body = export_report(reported, format)
    with server.room.database.transaction() as connection:
        audit.append(connection, user.name, "export", study_id, format=format, signed=reported.signature is not None)
    name = f"{study_id}{'' if reported.signature else '-unsigned-draft'}{kind.suffix}"
    return Response(body, media_type=kind.media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
