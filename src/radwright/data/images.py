"""Studies from loose image files: what a person hands to ``radwright generate`` without preparing a dataset."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from radwright.data.sources.tree import ZippedImage
from radwright.errors import SourceError
from radwright.types import ImageFile, ImageOnDisk, Study, View

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})
"""File names taken from folders and archives; a file named on the command line is taken whatever its name."""


def find_studies(inputs: Sequence[Path], *, together: bool = False) -> list[Study]:
    """Turn files, folders and zip archives into studies, in a stable order.

    A file is a study of one view, called by its name without the suffix. In a folder or an archive every sub-folder
    that holds images is one study with these as its views, called by its path; images directly in it are a study each.

    Args:
        inputs: files, folders, zip archives.
        together: all images of all inputs are the views of one study, called after the first.

    Raises:
        SourceError: an input does not exist, holds no image, or two studies would have the same id.
    """
    studies = [study for path in inputs for study in _studies_at(path)]
    if together and studies:
        return [Study(studies[0].study_id, tuple(view for study in studies for view in study.views))]
    seen: dict[str, Study] = {}
    for study in studies:
        if study.study_id in seen:
            names = seen[study.study_id].views[0].image.name, study.views[0].image.name
            raise SourceError(
                f"{names[0]} and {names[1]} would both be study {study.study_id!r}; rename one, "
                "or give their common folder instead of the files"
            )
        seen[study.study_id] = study
    return studies


def _studies_at(path: Path) -> list[Study]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _is_image(file.name))
        images = [(PurePosixPath(file.relative_to(path).as_posix()), ImageOnDisk(file)) for file in files]
        return _grouped(path, images)
    if not path.is_file():
        raise SourceError(f"{path}: no such image, folder or archive")
    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                members = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        except (zipfile.BadZipFile, OSError) as error:
            raise SourceError(f"{path}: is no readable zip archive: {error}") from error
        return _grouped(path, [(PurePosixPath(name), ZippedImage(path, name)) for name in members if _is_image(name)])
    return [Study(path.stem, (View(ImageOnDisk(path)),))]


def _is_image(name: str) -> bool:
    pure = PurePosixPath(name)
    hidden = pure.name.startswith(".") or "__MACOSX" in pure.parts
    return pure.suffix.lower() in SUFFIXES and not hidden


def _grouped(root: Path, images: Iterable[tuple[PurePosixPath, ImageFile]]) -> list[Study]:
    images = list(images)
    if not images:
        raise SourceError(f"{root}: holds no image ({', '.join(sorted(SUFFIXES))})")
    # An archive often holds one folder that holds everything: that folder is the root, not a study.
    common = PurePosixPath(*_common_parts([image[0].parent.parts for image in images]))
    folders: dict[str, list[View]] = {}
    for inner, image in images:
        relative = inner.relative_to(common)
        study_id = str(relative.with_suffix("") if len(relative.parts) == 1 else relative.parent)
        folders.setdefault(study_id, []).append(View(image))
    return [Study(study_id, tuple(views)) for study_id, views in folders.items()]


def _common_parts(paths: Sequence[tuple[str, ...]]) -> list[str]:
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return common
