"""Studies of the reading room: how they come in, wait for a draft, and get exactly one."""

from __future__ import annotations

import dataclasses
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.serving import audit
from radwright.serving.database import Database, now
from radwright.serving.records import Draft, ReadingImage, ReadingStudy, StudyState
from radwright.serving.refusals import ConflictError, QueueFullError, UnknownStudyError
from radwright.serving.rows import (
    IMAGE,
    STUDY,
    add_version,
    change_state,
    draft_body,
    draft_of,
    facts_digest,
    image_digest,
    image_of,
    is_touched,
    searched,
    set_asserted,
    study_row,
    version_digest,
    want_draft,
)

CLOSED = frozenset({"signed", "receiving", "withdrawn"})
"""States in which a report is not worked on."""
SYSTEM = "radwright"
"""Who does what nobody asked for: the software."""


@dataclass(frozen=True, slots=True)
class Job:
    """A draft to be made.

    Attributes:
        study_id: for which study.
        forced: disease -> whether the network is told of it or kept from it; empty: as perceived.
        actor: who asked for it.
        created_at: when.
        deadline_at: when it is of no use any more; empty: never.
    """

    study_id: str
    forced: Mapping[str, bool]
    actor: str
    created_at: str
    deadline_at: str


class Studies:
    """The studies in a reading room's database; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # ---- coming in

    def upload(
        self,
        study: ReadingStudy,
        images: Sequence[ReadingImage],
        *,
        actor: str,
        most_waiting: int,
        deadline_at: str = "",
        request_key: str = "",
    ) -> tuple[ReadingStudy, bool]:
        """A whole study that was uploaded, waiting for its draft; and whether it is new.

        Args:
            study: its facts; id, state and times are given here.
            images: whose bytes are kept already.
            actor: who uploaded it.
            most_waiting: studies that may wait for a draft, this one included.
            deadline_at: see ``Job``.
            request_key: a name that the client gave its request: sent again, it gives the study of the first time.

        Raises:
            QueueFullError: too many wait.
            ConflictError: the DICOM study or an image of it is here already.
        """
        with self.database.transaction() as connection:
            if (known := self._taken(connection, study, images, most_waiting, request_key)) is not None:
                return known, False
            made = self._insert(connection, study, "waiting", request_key)
            for image in images:
                self._insert_image(connection, made.id, image)
            want_draft(connection, made.id, {}, actor, deadline_at)
            rows = [image_digest(image) for image in images]
            facts = facts_digest(made)
            audit.append(connection, actor, "upload", made.id, images=rows, origin=study.origin, facts=facts)
        return made, True

    def taken_before(
        self, study: ReadingStudy, images: Sequence[ReadingImage], *, most_waiting: int, request_key: str = ""
    ) -> ReadingStudy | None:
        """What ``upload`` would give or refuse now, before any byte is kept: the study of a request that is sent again.

        Raises:
            QueueFullError, ConflictError: see ``upload``.
        """
        return self._taken(self.database.connection, study, images, most_waiting, request_key)

    def receive(self, study: ReadingStudy, image: ReadingImage, *, actor: str) -> str:
        """One image of a study that comes image by image (DICOM C-STORE); the study's id here.

        The same image again changes nothing. A study that had its draft goes back to receiving, unless a person has
        edited or signed its report: then the image is kept, the audit log tells it, and the report stays.

        Args:
            study: its facts; of a study that is here already nothing is changed.
            image: its bytes are kept already; its place is given here.
            actor: who sent it.

        Raises:
            ConflictError: an image of this SOPInstanceUID but with other bytes is here.
        """
        with self.database.transaction() as connection:
            known = connection.execute(
                "SELECT study, digest FROM image WHERE sop_instance_uid = ? AND withdrawn = 0",
                (image.sop_instance_uid,),
            ).fetchone()
            if known is not None:
                if known["digest"] != image.digest:
                    raise ConflictError(
                        f"image {image.sop_instance_uid} is here already with other bytes; the first stays"
                    )
                self._is_in_pacs(connection, known["study"])
                return str(known["study"])
            row = connection.execute(
                "SELECT id FROM study WHERE study_uid = ? AND state <> 'withdrawn'", (study.study_uid,)
            ).fetchone()
            made = study_row(connection, row["id"]) if row else self._insert(connection, study, "receiving", "")
            self._is_in_pacs(connection, made.id)
            place = connection.execute("SELECT count(*) FROM image WHERE study = ?", (made.id,)).fetchone()[0]
            image = dataclasses.replace(image, place=place)
            self._insert_image(connection, made.id, image)
            late = row is not None and is_touched(connection, made)
            if not late:
                connection.execute("DELETE FROM job WHERE study = ?", (made.id,))
                change_state(connection, made.id, "receiving")
            action = "receive late image" if late else "receive image"
            new = {} if row else {"facts": facts_digest(made)}
            audit.append(connection, actor, action, made.id, image=image_digest(image), **new)
        return made.id

    def came_again(self, sop_instance_uid: str, *, actor: str) -> None:
        """A PACS sends an image that is here: where the study was uploaded, the PACS wants its report from now on."""
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT study FROM image JOIN study ON study.id = image.study "
                "WHERE sop_instance_uid = ? AND withdrawn = 0 AND origin <> 'dicom'",
                (sop_instance_uid,),
            ).fetchone()
            if row is not None:
                self._is_in_pacs(connection, row["study"])
                audit.append(connection, actor, "known to PACS", row["study"])

    def complete_quiet(self, before: str) -> list[str]:
        """Studies whose last image came before this time are complete: they wait for a draft now; their ids."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT id FROM study WHERE state = 'receiving' AND "
                "(SELECT max(received_at) FROM image WHERE study = study.id) < ? ORDER BY received_at",
                (before,),
            ).fetchall()
            for row in rows:
                change_state(connection, row["id"], "waiting")
                want_draft(connection, row["id"], {}, SYSTEM, "")
                audit.append(connection, SYSTEM, "study complete", row["id"])
        return [row["id"] for row in rows]

    # ---- drafts

    def jobs(self, *, limit: int, leave_out: Sequence[str] = ()) -> list[Job]:
        """Drafts to be made, the oldest first."""
        marks = ", ".join("?" * len(leave_out))
        rows = self.database.connection.execute(
            f"SELECT * FROM job WHERE study NOT IN ({marks}) ORDER BY created_at, study LIMIT ?", (*leave_out, limit)
        )
        return [
            Job(row["study"], json.loads(row["forced"]), row["actor"], row["created_at"], row["deadline_at"] or "")
            for row in rows
        ]

    def num_waiting(self) -> int:
        """Drafts to be made."""
        return int(self.database.connection.execute("SELECT count(*) FROM job").fetchone()[0])

    def num_ahead(self, study_id: str) -> int | None:
        """Drafts to be made before this study's; None where it waits for none."""
        row = self.database.connection.execute("SELECT created_at FROM job WHERE study = ?", (study_id,)).fetchone()
        if row is None:
            return None
        ahead = self.database.connection.execute(
            "SELECT count(*) FROM job WHERE (created_at, study) < (?, ?)", (row["created_at"], study_id)
        )
        return int(ahead.fetchone()[0])

    def progress(self, study_id: str) -> tuple[StudyState, int | None]:
        """A study's state, and the drafts to be made before its own; None where it waits for none.

        Raises:
            UnknownStudyError: no such study.
        """
        return self.study(study_id).state, self.num_ahead(study_id)

    def request_draft(
        self, study_id: str, forced: Mapping[str, bool], *, actor: str, most_waiting: int, deadline_at: str = ""
    ) -> None:
        """Ask for another draft.

        Raises:
            UnknownStudyError: no such study.
            ConflictError: it is signed, still coming in, or waits for a draft already.
            QueueFullError: too many wait.
        """
        with self.database.transaction() as connection:
            study = study_row(connection, study_id)
            if study.state in CLOSED:
                raise ConflictError(f"study {study_id} is {study.state}: it takes no other draft")
            if connection.execute("SELECT 1 FROM job WHERE study = ?", (study_id,)).fetchone():
                raise ConflictError(f"study {study_id} waits for a draft already")
            waiting = connection.execute("SELECT count(*) FROM job").fetchone()[0]
            if waiting >= most_waiting:
                raise QueueFullError(f"{waiting} studies wait for a draft, and the server takes on no more; try later")
            want_draft(connection, study_id, forced, actor, deadline_at)
            if study.state == "failed":
                change_state(connection, study_id, "waiting")
            audit.append(connection, actor, "request draft", study_id, forced=dict(forced))

    def add_draft(self, job: Job, draft: Draft) -> Draft | None:
        """As ``add_drafts``, for one."""
        return self.add_drafts([(job, draft)])[0]

    def add_drafts(self, made: Sequence[tuple[Job, Draft]]) -> list[Draft | None]:
        """Keep the drafts that jobs asked for, with their numbers; None where a job was withdrawn meanwhile.

        Each becomes its report's newest version unless a person has edited the report. All are kept, or none: writing
        to disk once for a batch takes a fraction of the time.
        """
        with self.database.transaction() as connection:
            return [self._add_draft(connection, job, draft) for job, draft in made]

    def _add_draft(self, connection: sqlite3.Connection, job: Job, draft: Draft) -> Draft | None:
        study = self._wanted(connection, job)
        if study is None:
            return None
        number = connection.execute("SELECT count(*) FROM draft WHERE study = ?", (study.id,)).fetchone()[0] + 1
        made = dataclasses.replace(draft, number=number)
        body = draft_body(made)
        connection.execute("INSERT INTO draft VALUES (?, ?, ?, ?)", (study.id, number, body, made.created_at))
        connection.execute("DELETE FROM job WHERE study = ?", (study.id,))
        told: dict[str, Any] = {"draft": number, "weights": made.model.weights, "body": audit.text_digest(body)}
        if not is_touched(connection, study):
            version = add_version(connection, study.id, made.text, author=made.model.name, kind="draft", draft=number)
            told |= {"version": version, "row": version_digest(connection, study.id, version)}
            set_asserted(connection, study.id, made.text, made)
        change_state(connection, study.id, "drafted")
        audit.append(connection, SYSTEM, "draft", study.id, **told)
        return made

    def fail(self, job: Job, reason: str) -> None:
        """No draft can be had: the study says why. One that has a draft already keeps it."""
        with self.database.transaction() as connection:
            study = self._wanted(connection, job)
            if study is None:
                return
            connection.execute("DELETE FROM job WHERE study = ?", (study.id,))
            has_draft = connection.execute("SELECT 1 FROM draft WHERE study = ?", (study.id,)).fetchone()
            if has_draft:
                change_state(connection, study.id, study.state, f"no other draft: {reason}")
            else:
                change_state(connection, study.id, "failed", reason)
            audit.append(connection, SYSTEM, "draft failed", study.id, reason=reason)

    def _wanted(self, connection: sqlite3.Connection, job: Job) -> ReadingStudy | None:
        """The job's study, if the very job still stands."""
        row = connection.execute("SELECT created_at FROM job WHERE study = ?", (job.study_id,)).fetchone()
        if row is None or row["created_at"] != job.created_at:
            return None
        study = study_row(connection, job.study_id)
        return None if study.state in CLOSED else study

    # ---- taken away and back

    def withdraw(self, study_id: str, reason: str, *, actor: str) -> None:
        """A study that is here by mistake: it leaves the worklist, nothing more is done with it, nothing is deleted.

        Its images may come again, with the same UIDs, as another study. Withdrawn again, it stays as it is.

        Args:
            study_id: which.
            reason: why, in words; it stands with the study, and in the audit log as its digest.
            actor: who says so.

        Raises:
            UnknownStudyError: no such study.
            ConflictError: it is signed.
        """
        with self.database.transaction() as connection:
            study = study_row(connection, study_id)
            if study.state == "withdrawn":
                return
            if study.state == "signed":
                raise ConflictError(
                    f"study {study_id} is signed: it stays; what is wrong with it belongs into an addendum"
                )
            connection.execute("DELETE FROM job WHERE study = ?", (study_id,))
            connection.execute("UPDATE image SET withdrawn = 1 WHERE study = ?", (study_id,))
            change_state(connection, study_id, "withdrawn", f"{reason} ({actor})")
            audit.append(connection, actor, "withdraw", study_id, reason=audit.text_digest(reason))

    def restore(self, study_id: str, *, actor: str) -> None:
        """A withdrawn study back on the worklist: with its draft, else waiting for one.

        Raises:
            UnknownStudyError: no such study.
            ConflictError: it is not withdrawn, or its images are here again as another study.
        """
        with self.database.transaction() as connection:
            study = study_row(connection, study_id)
            if study.state != "withdrawn":
                raise ConflictError(f"study {study_id} is {study.state}: only a withdrawn one is restored")
            self._refuse_known(connection, study, self.images(study_id))
            has_draft = connection.execute("SELECT 1 FROM draft WHERE study = ?", (study_id,)).fetchone()
            connection.execute("UPDATE image SET withdrawn = 0 WHERE study = ?", (study_id,))
            change_state(connection, study_id, "drafted" if has_draft else "waiting")
            if not has_draft:
                want_draft(connection, study_id, {}, actor, "")
            audit.append(connection, actor, "restore", study_id)

    # ---- reading

    def study(self, study_id: str) -> ReadingStudy:
        """One study.

        Raises:
            UnknownStudyError: there is none of this id.
        """
        return study_row(self.database.connection, study_id)

    def find(self, name: str) -> str:
        """The id of the study of this id, StudyInstanceUID or accession.

        Raises:
            UnknownStudyError: none, or several.
        """
        rows = self.database.connection.execute(
            "SELECT id FROM study WHERE ?1 <> '' "
            "AND (?1 = id OR ?1 IN (study_uid, accession) AND state <> 'withdrawn')",
            (name,),
        ).fetchall()
        if len(rows) != 1:
            several = f"{len(rows)} studies: {', '.join(row['id'] for row in rows)}" if rows else "no study"
            raise UnknownStudyError(f"{name!r} names {several} here")
        return str(rows[0]["id"])

    def images(self, study_id: str, *, until: str = "") -> tuple[ReadingImage, ...]:
        """Its images, in order; with a time, those that were here by then."""
        rows = self.database.connection.execute(
            "SELECT * FROM image WHERE study = ?1 AND (?2 = '' OR received_at <= ?2) ORDER BY place", (study_id, until)
        )
        return tuple(image_of(row) for row in rows)

    def draft(self, study_id: str, number: int | None = None) -> Draft | None:
        """A draft of a study, the newest one where none is named; None where there is none."""
        found = self.database.connection.execute(
            "SELECT body FROM draft WHERE study = ? AND (? IS NULL OR number = ?) ORDER BY number DESC LIMIT 1",
            (study_id, number, number),
        ).fetchone()
        return draft_of(found["body"]) if found else None

    def drafts(self, study_id: str) -> list[Draft]:
        """All drafts of a study, in order."""
        rows = self.database.connection.execute("SELECT body FROM draft WHERE study = ? ORDER BY number", (study_id,))
        return [draft_of(row["body"]) for row in rows]

    # ---- inside a transaction

    def _taken(
        self,
        connection: sqlite3.Connection,
        study: ReadingStudy,
        images: Sequence[ReadingImage],
        most_waiting: int,
        request_key: str,
    ) -> ReadingStudy | None:
        """The study of a request that was sent before; None of a new one that can be taken."""
        if request_key:
            row = connection.execute("SELECT id FROM study WHERE request_key = ?", (request_key,)).fetchone()
            if row:
                known = connection.execute("SELECT digest FROM image WHERE study = ? ORDER BY place", (row["id"],))
                if [each["digest"] for each in known][: len(images)] != [image.digest for image in images]:
                    raise ConflictError("Idempotency-Key: was used for other images; every upload has a key of its own")
                return study_row(connection, row["id"])
        waiting = connection.execute("SELECT count(*) FROM job").fetchone()[0]
        if waiting >= most_waiting:
            raise QueueFullError(f"{waiting} studies wait for a draft, and the server takes on no more; try later")
        self._refuse_known(connection, study, images)
        return None

    def _refuse_known(
        self, connection: sqlite3.Connection, study: ReadingStudy, images: Sequence[ReadingImage]
    ) -> None:
        uids = [image.sop_instance_uid for image in images if image.sop_instance_uid]
        if len(uids) > len(set(uids)):
            raise ConflictError("the same image (SOPInstanceUID) stands twice in this study; send it once")
        if study.study_uid:
            row = connection.execute(
                "SELECT id FROM study WHERE study_uid = ? AND state <> 'withdrawn'", (study.study_uid,)
            ).fetchone()
            if row:
                raise ConflictError(f"this DICOM study is here already, as study {row['id']}")
        for image in images:
            row = connection.execute(
                "SELECT study FROM image WHERE sop_instance_uid = ? AND sop_instance_uid <> '' AND withdrawn = 0",
                (image.sop_instance_uid,),
            ).fetchone()
            if row:
                raise ConflictError(f"image {image.name} is here already, in study {row['study']}")

    def _insert(
        self, connection: sqlite3.Connection, study: ReadingStudy, state: StudyState, request_key: str
    ) -> ReadingStudy:
        moment = now()
        made = dataclasses.replace(
            study,
            id=secrets.token_hex(8),
            state=state,
            received_at=moment,
            updated_at=moment,
        )
        names = (*STUDY, "request_key", "searched")
        connection.execute(
            f"INSERT INTO study ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            (*(getattr(made, name) for name in STUDY), request_key or None, searched(made)),
        )
        return made

    def _insert_image(self, connection: sqlite3.Connection, study_id: str, image: ReadingImage) -> None:
        values = [getattr(image, name) for name in IMAGE]
        connection.execute(
            f"INSERT INTO image (study, {', '.join(IMAGE)}, received_at) VALUES (?, {', '.join('?' * len(IMAGE))}, ?)",
            (study_id, *values, now()),
        )

    def _is_in_pacs(self, connection: sqlite3.Connection, study_id: str) -> None:
        """A study that was uploaded first and is then sent by a PACS is one that the PACS wants a report of."""
        connection.execute("UPDATE study SET origin = 'dicom' WHERE id = ? AND origin <> 'dicom'", (study_id,))
