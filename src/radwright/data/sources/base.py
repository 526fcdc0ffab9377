"""What a dataset must be able to do: list its studies cheaply, and load one of them in whatever process asks.

A new dataset is one file with one class that fulfils ``Source``, and one line in ``radwright.tables.SOURCES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from radwright.config import Config
from radwright.types import Split, Study


@dataclass(frozen=True, slots=True)
class StudyReference:
    """Enough to name a study, to check splits and patients before any work, and to load it later.

    References are sent to worker processes, so they hold plain picklable values only.

    Attributes:
        study_id: the dataset's id; ``prepare`` records a second study of the same id as skipped.
        patient_id: the dataset's patient; empty when the dataset does not say (then each study is its own patient).
        split: the dataset's official split; None when the dataset has none (``prepare`` then cuts splits by patient).
            A source that names ``tune`` studies itself keeps them; otherwise 10 % of train becomes ``tune``.
        content: whatever ``Source.load`` needs of this study (an index, a record, rows of a table).
    """

    study_id: str
    patient_id: str = ""
    split: Split | None = None
    content: Any = None


class Source(Protocol):
    """A dataset on disk, or one that is generated.

    Listing happens once, in the parent process. The source itself is pickled to the worker processes, so it stays
    light: what belongs to one study goes into the references, open files are opened again where they are used.

    A source may also have ``notes``, texts that the summary repeats; ``reads_urls``, true where ``path`` may be a URL
    as text; ``has_images``, false where no study has any; and ``no_reports`` and ``no_images``, what is missing and how
    to name it where ``has_reports`` or ``has_images`` is false.
    """

    terms: ClassVar[Mapping[str, Any]]
    """``licence`` of the dataset, and ``credentialed: True`` where its users sign an agreement; for the model card."""
    has_reports: bool
    """Whether studies come with reports: then an empty report is a reason to skip the study."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        """Look at the dataset.

        Args:
            path: a folder or an archive; a source may take other words (the phantom: a YAML file or ``default``), so
                nothing before the source checks that it exists.
            options: ``--option key=value`` and ``--column name=column`` of the command line, see ``read_options``.

        Raises:
            SourceError: the path is missing or is not laid out as the format says; the message names what is missing.
            ConfigError: an unknown option.
        """
        ...

    def references(self) -> Sequence[StudyReference]:
        """All studies in an order that never changes for the same dataset.

        Raises:
            SourceError: an index file or column is missing or malformed.
        """
        ...

    def load(self, reference: StudyReference) -> Study:
        """Load one study: ids and split as in ``reference``, views whose bytes are read later, report sections.

        What the dataset lacks of it (all images, the report) is left out here; ``prepare`` decides what that means.

        Raises:
            StudyError: this study cannot be used; ``prepare`` records the message and goes on.
        """
        ...


OptionsT = TypeVar("OptionsT", bound=Config)


def read_options(config: type[OptionsT], options: Mapping[str, Any], *, name: str) -> OptionsT:
    """Validate a source's options with a config class of its own.

    Args:
        config: the source's options as a ``Config`` class.
        options: key -> value; values from the command line are read as YAML before they come here.
        name: the source's name in ``radwright.tables.SOURCES``, for the message.

    Raises:
        ConfigError: unknown key (with the near one) or a value that does not fit.
    """
    return config.parse(options, where=f"options of --format {name}")
