"""``radwright check-privacy``: which tags of DICOM files still identify the patient, and text in the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from radwright.serving.privacy_files import CheckedFile


def check_privacy(
    inputs: list[Path] = typer.Argument(..., metavar="FILE...", help="DICOM files, folders, zip or tar archives."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document, a list of files, instead of tables."),
) -> None:
    """See what DICOM files still tell of their patients; exit status 1 where anything is found.

    By the Basic Application Level Confidentiality Profile (DICOM PS3.15, table E.1-1): tags with a value that it
    removes, empties or replaces, a table per study. Values are shown by their first character and length. Whether UIDs
    were replaced and what the pixels show cannot be told from the tags. Nothing is changed.
    """
    import json

    from radwright.serving.privacy_files import check_files

    files = list(check_files(inputs))
    if as_json:
        print(json.dumps({"files": [file.plain() for file in files], "clean": all(file.is_clean for file in files)}))
    else:
        _print(files)
    if not all(file.is_clean for file in files):
        raise typer.Exit(1)


def _print(files: Sequence[CheckedFile]) -> None:
    from rich.console import Console

    console = Console()
    studies: dict[int, list[CheckedFile]] = {}
    for file in files:
        studies.setdefault(file.study, []).append(file)
    for file in studies.pop(0, []):
        console.print(f"could not be checked: {file.error}", markup=False, soft_wrap=True)
    for number, members in studies.items():
        console.print(f"\nstudy {number}: {_counted(len(members))}", markup=False)
        for file in members[:3]:
            console.print(f"  {file.file}", markup=False, soft_wrap=True)
        if len(members) > 3:
            console.print(f"  and {len(members) - 3} more")
        _print_study(members, console)
    unclean = sum(not file.is_clean for file in files)
    told = "identify" if unclean != 1 else "identifies"
    console.print(
        f"\n{unclean} of {_counted(len(files))} {told} the patient, or could not be checked"
        if unclean
        else f"\n{_counted(len(files))}: no tag that identifies the patient"
    )
    console.print("Not judged: whether UIDs were replaced, and what the pixels show.")


def _print_study(members: Sequence[CheckedFile], console: Console) -> None:
    """A row per tag over all files of a study, and what the files say of their pixels."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    facts: dict[tuple[str, str, tuple[str, ...]], tuple[str, bool]] = {}
    for file in members:
        for tag in file.tags:
            key = (tag.tag, tag.keyword, tag.place)
            rows.setdefault(key, []).append(tag.value)
            facts[key] = (tag.action, tag.names)
    if rows:
        table = Table(box=SIMPLE_HEAD)
        for heading in ("tag", "keyword", "value", "profile", "files"):
            table.add_column(heading, justify="right" if heading == "files" else "left", no_wrap=heading == "tag")
        for key, values in sorted(rows.items(), key=lambda row: (not facts[row[0]][1], row[0])):
            tag_number, keyword, place = key
            action, names = facts[key]
            shown = values[0] if len(set(values)) == 1 else f"{len(set(values))} different"
            table.add_row(
                tag_number, " > ".join((*place, keyword)), shown, action, str(len(values)), style="bold" * names
            )
        console.print(table)
    else:
        console.print("  no identifying tag")
    said = [file.burned_in for file in members]
    if "yes" in said:
        console.print(f"  text in the pixels: {said.count('yes')} say so (BurnedInAnnotation: YES); look at them")
    elif "not stated" in said:
        console.print("  text in the pixels: not stated (BurnedInAnnotation); look at them")
    if any(file.named_by_path for file in members):
        console.print("  the names of files or folders hold part of the patient's identity")


def _counted(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
