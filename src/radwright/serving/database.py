"""The reading room's SQLite file: its tables, one connection per thread, and transactions.

WAL mode, so that the server and the PACS side (two processes) read while one of them writes; ``synchronous=FULL``, so
that what was acknowledged survives a power cut.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from radwright.errors import OutputError, StoreError

FILE = "reading.sqlite"
_OWN = frozenset({"images", "serve.lock"})
"""What a room may hold before its database is there."""
_APPLICATION_ID = 0x52414457  # "RADW"
_LAYOUT = 3
_BUSY_S = 30.0
_PARTING = str.maketrans(dict.fromkeys("^=,", " "))
_UNWRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
_TABLES = """
CREATE TABLE study (
  id TEXT PRIMARY KEY, state TEXT NOT NULL, received_at TEXT NOT NULL, updated_at TEXT NOT NULL, origin TEXT NOT NULL,
  reason TEXT NOT NULL, indication TEXT NOT NULL, description TEXT NOT NULL, accession TEXT NOT NULL,
  patient_id TEXT NOT NULL, patient_name TEXT NOT NULL, birth_date TEXT NOT NULL, sex TEXT NOT NULL,
  study_uid TEXT NOT NULL, study_id TEXT NOT NULL, study_date TEXT NOT NULL, study_time TEXT NOT NULL,
  referring_physician TEXT NOT NULL,
  doubt REAL, urgency REAL, request_key TEXT UNIQUE, searched TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX study_by_uid ON study (study_uid) WHERE study_uid <> '' AND state <> 'withdrawn';
CREATE INDEX study_by_time ON study (received_at);
CREATE TABLE image (
  study TEXT NOT NULL REFERENCES study (id), place INTEGER NOT NULL, digest TEXT NOT NULL, name TEXT NOT NULL,
  kind TEXT NOT NULL, position TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
  sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, series_uid TEXT NOT NULL, burned_in INTEGER NOT NULL,
  received_at TEXT NOT NULL, withdrawn INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (study, place)
) STRICT;
CREATE UNIQUE INDEX image_by_uid ON image (sop_instance_uid) WHERE sop_instance_uid <> '' AND withdrawn = 0;
CREATE TABLE job (
  study TEXT PRIMARY KEY REFERENCES study (id), forced TEXT NOT NULL, actor TEXT NOT NULL, created_at TEXT NOT NULL,
  deadline_at TEXT
) STRICT;
CREATE TABLE draft (
  study TEXT NOT NULL REFERENCES study (id), number INTEGER NOT NULL, body TEXT NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (study, number)
) STRICT;
CREATE TABLE version (
  study TEXT NOT NULL REFERENCES study (id), number INTEGER NOT NULL, text TEXT NOT NULL, author TEXT NOT NULL,
  kind TEXT NOT NULL, based_on INTEGER NOT NULL, draft INTEGER NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (study, number)
) STRICT;
CREATE TABLE asserted (
  study TEXT NOT NULL REFERENCES study (id), finding TEXT NOT NULL, probability REAL, PRIMARY KEY (study, finding)
) STRICT;
CREATE TABLE signature (
  study TEXT NOT NULL REFERENCES study (id), version INTEGER NOT NULL, observer TEXT NOT NULL,
  organization TEXT NOT NULL, signed_at TEXT NOT NULL,
  PRIMARY KEY (study, version)
) STRICT;
CREATE TABLE document (
  study TEXT NOT NULL REFERENCES study (id), version INTEGER NOT NULL, signed INTEGER NOT NULL, uid TEXT NOT NULL,
  series_uid TEXT NOT NULL, PRIMARY KEY (study, version, signed)
) STRICT;
CREATE TABLE sending (
  id INTEGER PRIMARY KEY, study TEXT NOT NULL REFERENCES study (id), version INTEGER NOT NULL, signed INTEGER NOT NULL,
  destination TEXT NOT NULL, attempts INTEGER NOT NULL, queued_at TEXT NOT NULL, next_at TEXT NOT NULL, sent_at TEXT,
  error TEXT NOT NULL,
  UNIQUE (study, version, signed, destination)
) STRICT;
CREATE TABLE token (
  digest TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, created_at TEXT NOT NULL, revoked_at TEXT
) STRICT;
CREATE TABLE session (
  digest TEXT PRIMARY KEY, token TEXT NOT NULL REFERENCES token (digest), expires_at TEXT NOT NULL
) STRICT;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, study TEXT NOT NULL,
  details TEXT NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER signature_stays BEFORE UPDATE ON signature BEGIN SELECT RAISE(ABORT, 'signatures never change'); END;
CREATE TRIGGER signature_keeps BEFORE DELETE ON signature BEGIN SELECT RAISE(ABORT, 'signatures never change'); END;
CREATE TRIGGER version_stays BEFORE UPDATE ON version BEGIN SELECT RAISE(ABORT, 'versions never change'); END;
CREATE TRIGGER version_keeps BEFORE DELETE ON version BEGIN SELECT RAISE(ABORT, 'versions never change'); END;
"""


def folded(text: str) -> str:
    """A text as it is searched: without case, accents, and what parts a name's parts."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in plain if not unicodedata.combining(each)).translate(_PARTING)


def now() -> str:
    """The present in UTC, to the millisecond; as texts such times are in order."""
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime) -> str:
    """A moment as the store writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Database:
    """Connections to one reading room's file.

    Args:
        folder: holds ``reading.sqlite``; made where it is missing.
        create: whether a missing file is made.

    Raises:
        StoreError: the file is missing, none of ours, or of another layout.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.path = folder / FILE
        if not (create or self.path.is_file()):
            raise StoreError(f"{folder}: is no reading room (it holds no {FILE}); start radwright serve with it first")
        self._local = threading.local()
        try:
            self._prepare(folder)
            self._lay_out()
        except (sqlite3.DatabaseError, OSError) as error:
            raise StoreError(f"{self.path}: cannot be used as a reading room's store: {error}") from error

    def _prepare(self, folder: Path) -> None:
        """A folder that only its owner can read: it holds names and reports.

        Raises:
            StoreError: it holds something else.
        """
        if self.path.exists():
            return
        others = [path.name for path in folder.iterdir() if path.name not in _OWN] if folder.is_dir() else []
        if others:
            raise StoreError(f"{folder}: holds other files ({', '.join(sorted(others)[:3])}); give a folder of its own")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        # SQLite gives its -wal and -shm files the rights of the database.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _lay_out(self) -> None:
        connection = self.connection
        [application], [layout] = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if application == _APPLICATION_ID and layout == _LAYOUT:
            return
        if application == _APPLICATION_ID:
            raise StoreError(
                f"{self.path}: has layout {layout}, this version of Radwright reads {_LAYOUT}; finish it with the "
                "version that made it, and give this one another folder"
            )
        with self.transaction():
            # Asked again inside: another process may have been first.
            if connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID:
                return
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(f"{self.path}: is a database, but none of Radwright's; choose another folder")
            for statement in _statements(_TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection; rows are read by name."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            found.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                found.execute(f"PRAGMA {pragma}")
            self._local.connection = found
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; the only writer while it lasts.

        Raises:
            OutputError: the disk is full, or cannot be written.
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            # A commit that fails leaves the transaction open; a full disk may have ended it already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _UNWRITABLE:
                raise OutputError(f"{self.path}: cannot be written: {error}") from error
            raise

    def close(self) -> None:
        """Close this thread's connection."""
        if (found := getattr(self._local, "connection", None)) is not None:
            found.close()
            self._local.connection = None


def _statements(script: str) -> Iterator[str]:
    """The single statements of a script, for use inside a transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
