"""What of an object that a PACS sends is here already, by its DICOM UIDs; what was withdrawn counts as not here."""

from __future__ import annotations

from radwright.serving.database import Database


def image_digest(database: Database, sop_instance_uid: str) -> str | None:
    """Digest of the image of a SOPInstanceUID; None where it is not here."""
    row = database.connection.execute(
        "SELECT digest FROM image WHERE sop_instance_uid = ? AND sop_instance_uid <> '' AND withdrawn = 0",
        (sop_instance_uid,),
    ).fetchone()
    return str(row["digest"]) if row else None


def patient_of_study(database: Database, study_uid: str) -> str:
    """PatientID of the study of a StudyInstanceUID; empty where it is not here, or has none."""
    row = database.connection.execute(
        "SELECT patient_id FROM study WHERE study_uid = ? AND study_uid <> '' AND state <> 'withdrawn'", (study_uid,)
    ).fetchone()
    return str(row["patient_id"]) if row else ""


def is_own_report(database: Database, sop_instance_uid: str) -> bool:
    """Whether a SOPInstanceUID is that of a structured report of ours."""
    found = database.connection.execute("SELECT 1 FROM document WHERE uid = ?", (sop_instance_uid,)).fetchone()
    return found is not None
