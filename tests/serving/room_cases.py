"""Studies, images and drafts for tests of the reading room."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from radwright.serving.records import Draft, DraftFinding, DraftSentence, ModelIdentity, ReadingImage, ReadingStudy
from radwright.serving.room import ReadingRoom
from radwright.serving.studies import Job

MODEL = ModelIdentity("demo", "vlci", "ab" * 32, "0.1.0", {"strategy": {"kind": "beam"}}, {})


def study(**values: Any) -> ReadingStudy:
    return replace(ReadingStudy("", "waiting", "", "", patient_name="Doe^Jane", patient_id="P1"), **values)


def image(place: int = 0, *, data: bytes = b"pixels", **values: Any) -> ReadingImage:
    digest = hashlib.sha256(data).hexdigest()
    return replace(ReadingImage(place, digest, f"view{place}.png", "PNG", "frontal", 64, 48), **values)


def draft(text: str = "There is a left pleural effusion. The heart is normal.", **values: Any) -> Draft:
    sentences = tuple(DraftSentence(each if each.endswith(".") else each + ".", -0.5) for each in text.split(". "))
    findings = (DraftFinding("pleural_effusion", 0, 0.8),) if "effusion" in text else ()
    made = Draft(0, text, sentences, findings, None, {}, -3.0, True, MODEL, "2026-03-01T08:15:00.123Z", (4, 5, 6))
    return replace(made, **values)


def uploaded(room: ReadingRoom, **values: Any) -> str:
    room.blobs.put(b"pixels")
    made, _ = room.studies.upload(study(**values), [image()], actor="local", most_waiting=100)
    return made.id


def job_of(room: ReadingRoom, study_id: str) -> Job:
    return next(job for job in room.studies.jobs(limit=1000) if job.study_id == study_id)


def drafted(room: ReadingRoom, text: str = draft().text, **values: Any) -> str:
    study_id = uploaded(room, **values)
    room.studies.add_draft(job_of(room, study_id), draft(text))
    return study_id
