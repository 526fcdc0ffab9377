"""A reading room's folder, opened: everything that the server, the PACS side and the commands share."""

from __future__ import annotations

from pathlib import Path

from radwright.serving.access import Access
from radwright.serving.blobs import Blobs
from radwright.serving.database import Database
from radwright.serving.outbox import Outbox
from radwright.serving.reports import Reports
from radwright.serving.studies import Studies
from radwright.serving.worklist import Worklist


class ReadingRoom:
    """One folder with its database and its images.

    Args:
        folder: made where it is missing.
        create: whether a missing one is made.

    Raises:
        StoreError: it holds something else, or nothing where it must not be made.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        self.database = Database(folder, create=create)
        self.blobs = Blobs(folder / "images")
        self.studies = Studies(self.database)
        self.reports = Reports(self.database, self.studies)
        self.worklist = Worklist(self.database)
        self.outbox = Outbox(self.database)
        self.access = Access(self.database)
