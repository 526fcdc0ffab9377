"""``radwright export``: a report of the reading room as a file."""

from __future__ import annotations

from pathlib import Path

import typer


def export(
    study: str = typer.Argument(..., help="The study's id in the reading room, or its StudyInstanceUID or accession."),
    data: Path = typer.Option(..., "--data", metavar="DIR", help="Folder of the reading room."),
    format: str = typer.Option("sr", "--format", metavar="sr|fhir|text", help="DICOM SR, FHIR R4 or plain text."),
    out: Path = typer.Option(..., "--out", metavar="FILE", help="File to write."),
) -> None:
    """Write a report as a DICOM structured report, a FHIR R4 bundle or plain text; an unsigned draft says so."""
    from radwright.cli.progress import say
    from radwright.data.files import atomic_file, prepare_outputs
    from radwright.errors import ConfigError, near
    from radwright.serving import audit as log
    from radwright.serving.access import LOCAL
    from radwright.serving.export import FORMATS, export_report
    from radwright.serving.room import ReadingRoom

    if format not in FORMATS:
        raise ConfigError(f"--format {format}: no such format{near(format, FORMATS)}; there are {', '.join(FORMATS)}")
    prepare_outputs([out], [])
    room = ReadingRoom(data, create=False)
    study_id = room.studies.find(study)
    reported = room.reports.reported(study_id)
    with atomic_file(out) as file:
        file.write(export_report(reported, format))
    with room.database.transaction() as connection:
        log.append(connection, LOCAL, "export", study_id, format=format, signed=reported.signature is not None)
    if reported.signature is None:
        say("note: nobody has signed this report; the file says that it is an AI draft")
    say(str(out.resolve()))
