"""Structured reports that wait to be sent to a PACS: on disk, tried again with back-off, never lost, sent once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from radwright.serving import audit
from radwright.serving.database import Database, now, timestamp
from radwright.serving.studies import SYSTEM

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 900.0
_SIGNED = (
    "SELECT signature.study, signature.version AS number FROM signature JOIN study ON study.id = signature.study "
    "WHERE study.origin = 'dicom'"
)
_UNSIGNED = (
    "SELECT version.study, version.number FROM version JOIN study ON study.id = version.study "
    "WHERE study.origin = 'dicom' AND study.state = 'drafted' AND version.kind = 'draft' "
    "AND version.number = (SELECT max(number) FROM version AS other WHERE other.study = version.study)"
)


@dataclass(frozen=True, slots=True)
class Sending:
    """A structured report on its way.

    Attributes:
        id: of the sending.
        study_id: of which study.
        version: of its report.
        signed: whether it is the signed report, or an AI draft.
        destination: name of the PACS.
        attempts: made so far.
        error: of the last one.
    """

    id: int
    study_id: str
    version: int
    signed: bool
    destination: str
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What has become of a report on its way.

    Attributes:
        version: of the report.
        signed: whether it is the signed one, or an AI draft.
        destination: name of the PACS.
        attempts: made so far.
        sent_at: when the PACS acknowledged it; None while it waits.
        error: of the last attempt that failed; empty where none did.
    """

    version: int
    signed: bool
    destination: str
    attempts: int
    sent_at: str | None
    error: str


class Outbox:
    """The queue in a reading room's database; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def collect(self, destination: str, *, signed: bool = True) -> int:
        """Queue what a PACS should have and was not queued for it before; how many texts.

        Only studies that came by DICOM are sent: the PACS knows them.

        Args:
            destination: name of the PACS.
            signed: signed reports; False: the network's newest drafts, of studies that nobody has edited or signed.
        """
        chosen = _SIGNED if signed else _UNSIGNED
        with self.database.transaction() as connection:
            return connection.execute(
                "INSERT OR IGNORE INTO sending "
                "(study, version, signed, destination, attempts, queued_at, next_at, error) "
                f"SELECT study, number, ?1, ?2, 0, ?3, ?3, '' FROM ({chosen})",
                (signed, destination, now()),
            ).rowcount

    def due(self, *, at: str | None = None, limit: int = 16, destination: str | None = None) -> list[Sending]:
        """What is to be tried now, the longest overdue first; to one PACS where it is named, else to any."""
        rows = self.database.connection.execute(
            "SELECT * FROM sending WHERE sent_at IS NULL AND next_at <= ?1 AND (?2 IS NULL OR destination = ?2) "
            "ORDER BY next_at, id LIMIT ?3",
            (at or now(), destination, limit),
        )
        return [
            Sending(
                row["id"],
                row["study"],
                row["version"],
                bool(row["signed"]),
                row["destination"],
                row["attempts"],
                row["error"],
            )
            for row in rows
        ]

    def sent(self, sending: Sending) -> None:
        """The PACS has acknowledged it."""
        with self.database.transaction() as connection:
            changed = connection.execute(
                "UPDATE sending SET sent_at = ?, attempts = attempts + 1, error = '' WHERE id = ? AND sent_at IS NULL",
                (now(), sending.id),
            ).rowcount
            if changed:
                audit.append(
                    connection, SYSTEM, "sent", sending.study_id,
                    destination=sending.destination, report=sending.version, signed=sending.signed,
                )  # fmt: skip

    def failed(self, sending: Sending, error: str) -> float:
        """It did not arrive: it is tried again after a wait that doubles; that wait in seconds."""
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(sending.attempts, 20))
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE sending SET attempts = attempts + 1, next_at = ?, error = ? WHERE id = ? AND sent_at IS NULL",
                (timestamp(datetime.now(UTC) + timedelta(seconds=wait_s)), error, sending.id),
            )
        return wait_s

    def withdraw(self, sending: Sending) -> None:
        """It is not to be sent any more: a draft that somebody has edited or signed meanwhile."""
        with self.database.transaction() as connection:
            changed = connection.execute("DELETE FROM sending WHERE id = ? AND sent_at IS NULL", (sending.id,)).rowcount
            if changed:
                audit.append(
                    connection, SYSTEM, "not sent", sending.study_id,
                    destination=sending.destination, report=sending.version, signed=sending.signed,
                )  # fmt: skip

    def of_study(self, study_id: str) -> list[Delivery]:
        """What of a study was queued for which PACS, in that order."""
        rows = self.database.connection.execute(
            "SELECT version, signed, destination, attempts, sent_at, error FROM sending WHERE study = ? ORDER BY id",
            (study_id,),
        )
        return [
            Delivery(
                row["version"], bool(row["signed"]), row["destination"], row["attempts"], row["sent_at"], row["error"]
            )
            for row in rows
        ]

    def counts(self) -> dict[str, dict[str, float]]:
        """Per destination: ``waiting``, ``failing`` (tried in vain), ``sent``, ``oldest_s`` of those waiting."""
        rows = self.database.connection.execute(
            "SELECT destination, sum(sent_at IS NULL) AS waiting, sum(sent_at IS NULL AND attempts > 0) AS failing, "
            "sum(sent_at IS NOT NULL) AS sent, min(CASE WHEN sent_at IS NULL THEN queued_at END) AS oldest "
            "FROM sending GROUP BY destination"
        )
        counts = {}
        for row in rows:
            oldest = datetime.fromisoformat(row["oldest"]) if row["oldest"] else None
            age_s = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
            counts[row["destination"]] = {
                "waiting": row["waiting"],
                "failing": row["failing"],
                "sent": row["sent"],
                "oldest_s": max(0.0, age_s),
            }
        return counts
