"""The worklist: studies by state, finding and words, in the order that a reader wants."""

from __future__ import annotations

from dataclasses import dataclass

from radwright.errors import ConfigError, near
from radwright.serving.database import Database, folded
from radwright.serving.records import STUDY_STATES

ORDERS = {
    "received": "received_at DESC, id",
    "urgency": "urgency DESC NULLS LAST, received_at, id",
    "risk": "doubt DESC NULLS LAST, received_at, id",
    "state": "CASE state WHEN 'drafted' THEN 0 WHEN 'failed' THEN 1 WHEN 'waiting' THEN 2 WHEN 'receiving' THEN 3 "
    "ELSE 4 END, received_at, id",
}
"""Newest first; most urgent finding first; least sure finding first; what waits for a reader first."""
MOST_ROWS = 200
_SHOWN = "state <> 'withdrawn'"
"""What was withdrawn is shown to those who ask for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A study on the worklist.

    Attributes:
        study_id: which.
        findings: finding -> probability, as its report asserts them now.
        doubt: see ``radwright.serving.assertions.doubt``.
        urgency: see ``radwright.serving.assertions.urgency``.
        num_images: it has.
    """

    study_id: str
    findings: dict[str, float | None]
    doubt: float | None
    urgency: float
    num_images: int


class Worklist:
    """Queries over a reading room's database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(
        self,
        *,
        state: str = "",
        finding: str = "",
        words: str = "",
        order: str = "received",
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[int, list[Row]]:
        """How many studies fit, and some of them.

        Args:
            state: one of ``STUDY_STATES``; empty: any but withdrawn ones.
            finding: that their report asserts; empty: any.
            words: each, with or without accents, stands in the patient's name or id, the accession, the description or
                the indication.
            order: one of ``ORDERS``.
            limit: at most ``MOST_ROWS``.
            offset: how many to leave out from the first.

        Raises:
            ConfigError: no such state or order.
        """
        for value, known, what in ((state, STUDY_STATES, "state"), (order, tuple(ORDERS), "sort")):
            if value and value not in known:
                raise ConfigError(f"{what}: no such value {value!r}{near(value, known)}; there are {', '.join(known)}")
        conditions, values = ["state = ?" if state else _SHOWN], [state] if state else list[str]()
        if finding:
            conditions.append("EXISTS (SELECT 1 FROM asserted WHERE asserted.study = study.id AND finding = ?)")
            values.append(finding)
        for word in folded(words).split()[:8]:
            conditions.append("instr(searched, ?)")
            values.append(word)
        where, connection = " AND ".join(conditions), self.database.connection
        total = connection.execute(f"SELECT count(*) FROM study WHERE {where}", values).fetchone()[0]
        rows = connection.execute(
            f"SELECT id, doubt, urgency, (SELECT count(*) FROM image WHERE image.study = study.id) AS num_images "
            f"FROM study WHERE {where} ORDER BY {ORDERS[order]} LIMIT ? OFFSET ?",
            (*values, min(limit, MOST_ROWS), offset),
        )
        return int(total), [self._row(row["id"], row["doubt"], row["urgency"], row["num_images"]) for row in rows]

    def row(self, study_id: str) -> Row:
        """One study's row; an empty one of a study that is not there."""
        found = self.database.connection.execute(
            "SELECT doubt, urgency, (SELECT count(*) FROM image WHERE study = ?1) AS num_images FROM study "
            "WHERE id = ?1",
            (study_id,),
        ).fetchone()
        return self._row(study_id, *(found or (None, None, 0)))

    def counts(self) -> dict[str, int]:
        """Studies per state."""
        rows = self.database.connection.execute("SELECT state, count(*) AS num FROM study GROUP BY state")
        return dict.fromkeys(STUDY_STATES, 0) | {row["state"]: row["num"] for row in rows}

    def finding_counts(self) -> dict[str, int]:
        """Finding -> how many studies' reports assert it; those that none asserts are left out."""
        rows = self.database.connection.execute(
            "SELECT finding, count(*) AS num FROM asserted JOIN study ON study.id = asserted.study "
            f"WHERE {_SHOWN} GROUP BY finding"
        )
        return {row["finding"]: row["num"] for row in rows}

    def _row(self, study_id: str, doubt: float | None, urgency: float | None, num_images: int) -> Row:
        found = self.database.connection.execute(
            "SELECT finding, probability FROM asserted WHERE study = ? ORDER BY rowid", (study_id,)
        )
        return Row(study_id, {row["finding"]: row["probability"] for row in found}, doubt, urgency or 0.0, num_images)
