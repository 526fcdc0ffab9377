"""The phantom as a dataset: made up on the fly from a config, nothing to download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from radwright.config import read_yaml
from radwright.data.phantom.settings import PhantomConfig
from radwright.data.phantom.study import generate_study, patient_name, study_name
from radwright.data.sources.base import StudyReference
from radwright.errors import SourceError
from radwright.types import Split, Study

DEFAULT = "default"
"""The word that stands for ``PhantomConfig()`` where a path is expected."""


class PhantomSource:
    """Studies of a phantom population.

    The path is a YAML (or JSON) file with ``PhantomConfig``'s fields, or the word ``default``. Options are further
    fields that replace the file's (``--option seed=3``, ``--option "num_studies={train: 100}"``).
    """

    terms: ClassVar[Mapping[str, Any]] = {"licence": "synthetic, free of rights"}
    has_reports = True

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        """Read the config.

        Raises:
            SourceError: the path is neither a file nor ``default``.
            ConfigError: an unknown or unusable field in the file or the options.
        """
        values: dict[str, Any] = {}
        if path.is_file():
            values = read_yaml(path)
        elif str(path) != DEFAULT:
            raise SourceError(
                f"{path}: no such file; give a YAML file with the phantom's config, or the word {DEFAULT!r}"
            )
        PhantomConfig.parse(values, where=str(path))
        self.config = PhantomConfig.parse({**values, **options}, where=f"{path} with the options of --format phantom")

    def references(self) -> Sequence[StudyReference]:
        """Every study of every split, splits in the order of ``radwright.types.SPLITS``; its versions side by side."""
        return [
            StudyReference(version_name(split, index, version), patient_name(split, index), split, (index, version))
            for split in self.config.splits()
            for index in range(self.config.num_studies[split])
            for version in self.config.versions or ("",)
        ]

    def load(self, reference: StudyReference) -> Study:
        """Make one study: two PNG views in memory, sections, and the exact findings in ``extra``."""
        if reference.split is None or not isinstance(reference.content, tuple):
            raise SourceError(f"{reference.study_id}: no reference of the phantom source")
        index, version = reference.content
        made = generate_study(self.config, reference.split, index, override=self.config.versions.get(version))
        return replace(made, study_id=reference.study_id).study()


def version_name(split: Split, index: int, version: str) -> str:
    """The id of a study in one of its versions: ``test-000012@with``; without a version the study's own."""
    return study_name(split, index) + (f"@{version}" if version else "")
