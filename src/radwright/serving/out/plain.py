"""A study's report as plain UTF-8 text: the label where nobody has signed, study, report, who signed, what drafted."""

from __future__ import annotations

from radwright.serving.out.content import NO_TEXT, UNREAD, check, doubts
from radwright.serving.out.values import block, clock, day, line, moment, sex, shown_name, signer
from radwright.serving.records import LABEL, ReportedStudy, Signature

RULE = "-" * 72


def report_text(reported: ReportedStudy) -> str:
    """The report's words, behind the label where nobody has signed; addenda under it, each with who and when.

    Raises:
        OutputError: the signature is of another text, by nobody, or of no text.
    """
    check(reported)
    text = block(reported.text)
    if reported.signature:
        return "\n\n".join([text, *(_addendum(each) for each in reported.addenda)])
    return "\n\n".join(["\n".join([f"{LABEL}. {UNREAD}", *doubts(reported)]), text or NO_TEXT])


def _addendum(addendum: Signature) -> str:
    when = moment(addendum.signed_at, "signed_at").isoformat(timespec="seconds")
    return f"ADDENDUM, {shown_name(signer(addendum.observer))}, {when}\n{block(addendum.text)}"


def plain_report(reported: ReportedStudy) -> bytes:
    """Label, study, report, signature and network, in this order, with LF line ends.

    Raises:
        OutputError: the signature is of another text, by nobody, or of no text; a time is none.
    """
    blocks = [_study_lines(reported), [report_text(reported)], _signature_lines(reported), _network_lines(reported)]
    if reported.signature is None:
        blocks.insert(0, [f"*** {LABEL} ***"])
    return f"\n{RULE}\n".join("\n".join(lines) for lines in blocks if lines).encode() + b"\n"


def _study_lines(reported: ReportedStudy) -> list[str]:
    """What is known of the study, a line each; nothing for what is not."""
    study = reported.study
    date, time = day(study.study_date), clock(study.study_time)
    when = f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else ""
    if when and len(time) >= 4:
        when += f" {time[:2]}:{time[2:4]}"
    born = day(study.birth_date)
    known = {
        "Patient": shown_name(study.patient_name),
        "Patient ID": line(study.patient_id),
        "Born": f"{born[:4]}-{born[4:6]}-{born[6:]}" if born else "",
        "Sex": sex(study.sex),
        "Accession": line(study.accession),
        "Study": line(study.description),
        "Study date": when,
        "Study UID": line(study.study_uid),
        "Referred by": shown_name(study.referring_physician),
        "Indication": line(study.indication),
        "Reading room": line(study.id),
        "Images": ", ".join(f"{line(image.name)} ({image.position})" for image in reported.images),
    }
    return [f"{name}: {value}" for name, value in known.items() if value]


def _signature_lines(reported: ReportedStudy) -> list[str]:
    signature = reported.signature
    if signature is None:
        return [f"Not signed. {UNREAD}"]
    organization = line(signature.organization)
    return [
        f"Signed by: {shown_name(signer(signature.observer))}{f', {organization}' if organization else ''}",
        f"Signed at: {moment(signature.signed_at, 'signed_at').isoformat(timespec='seconds')}",
        f"Version: {signature.version}",
    ]


def _network_lines(reported: ReportedStudy) -> list[str]:
    if reported.draft is None:
        return []
    model = reported.draft.model
    return [
        f"Drafted by: {line(model.name)} ({line(model.method)}), Radwright {line(model.radwright)}",
        f"Weights (SHA-256): {line(model.weights)}",
        "Research software, not a medical device.",
    ]
