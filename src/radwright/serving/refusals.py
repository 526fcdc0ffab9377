"""Why the reading room refuses what it is asked for."""

from __future__ import annotations

from radwright.errors import StudyError


class UnknownStudyError(StudyError):
    """There is no such study, image, draft or version here."""


class ConflictError(StudyError):
    """What is asked for does not fit what the study has become meanwhile."""


class QueueFullError(StudyError):
    """More studies wait for a draft than the server takes on."""
