"""Drafts for many studies into a JSONL file: resumable, nothing lost, every skipped study on record."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from radwright.data.files import atomic_file, drop_torn_line, each_line, json_line, output_errors, write_lines
from radwright.errors import OutputError
from radwright.types import Report, Skipped, Study


class Drafter(Protocol):
    """What writes the reports; ``radwright.inference.predictor.Predictor`` does."""

    def draft(self, studies: Iterable[Study]) -> Iterator[Report | Skipped]:
        """A report or the reason for none, per study, in order."""
        ...


@dataclass(frozen=True, slots=True)
class DraftingSummary:
    """What a drafting job did.

    Attributes:
        num_reports: lines in the file.
        num_resumed: of them, lines found from an earlier, interrupted call.
        num_unfinished: of them, reports that ended at the length limit.
        seconds: spent on drafting in this call.
        skipped: studies without a draft, and why; also in ``<out>.skipped.jsonl``.
    """

    num_reports: int
    num_resumed: int
    num_unfinished: int
    seconds: float
    skipped: tuple[Skipped, ...] = field(default=())


def report_row(report: Report) -> dict[str, Any]:
    """One line of a predictions file, with the clues that were told and the assertions that were looked at, if any."""
    row: dict[str, Any] = {
        "study_id": report.study_id,
        "report": report.text,
        "score": round(report.score, 6),
        "seconds": round(report.seconds, 6),
        "num_tokens": report.num_tokens,
        "finished": report.finished,
    }
    if report.clues is not None:
        row["clues"] = {name: round(probability, 6) for name, probability in sorted(report.clues.items())}
    if report.assertions is not None:
        row["assertions"] = report.assertions.plain()
    return row


def draft_to_file(
    drafter: Drafter,
    studies: Iterable[Study],
    out: Path,
    *,
    identity: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    on_progress: Callable[[Report | Skipped], None] = lambda outcome: None,
) -> DraftingSummary:
    """Draft every study into ``out``.

    While the job runs its lines are in ``<out>.partial``, whose first line is ``identity``; called again after a kill
    it drafts only what is missing. ``out`` appears when all is done, unless not a single study could be drafted.

    Args:
        drafter: writes the reports.
        studies: what to draft, unique ids.
        out: the JSONL file to make.
        identity: checkpoint, settings, inputs: a partial file of another identity is not continued.
        facts: written into every line besides what a report holds.
        on_progress: called with each outcome.

    Raises:
        OutputError: ``out`` exists, a partial file of another job is in the way, or nothing can be written.
    """
    partial = out.with_name(out.name + ".partial")
    if out.exists() and not _is_copy(out, partial):
        if not out.is_file():
            raise OutputError(f"{out}: is no file that drafts could go into (a folder, a device); choose another --out")
        raise OutputError(f"{out}: exists already; choose another --out, or remove it")
    identity = json.loads(json.dumps(identity))
    done = _resume(partial, identity)
    seconds, skipped = 0.0, []
    missing = (study for study in studies if study.study_id not in done)
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a buffer would be flushed once more on closing, and hide why a full disk stopped the job.
        stream = partial.open("ab", buffering=0)
    with stream:
        if stream.tell() == 0:
            _write(partial, stream, {"identity": identity})
        for outcome in drafter.draft(missing):
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
            else:
                seconds += outcome.seconds
                _write(partial, stream, {**report_row(outcome), **(facts or {})})
            on_progress(outcome)
    num_resumed = len(done)
    _write_skipped(out, skipped)
    num_reports, num_unfinished = _publish(partial, out)
    with output_errors(out):
        partial.unlink()
    return DraftingSummary(num_reports, num_resumed, num_unfinished, seconds, tuple(skipped))


def _publish(partial: Path, out: Path) -> tuple[int, int]:
    """Copy the drafts of a finished job to ``out``, where there are any; their number, and of them the unfinished."""
    num_reports = num_unfinished = 0
    rows = _drafted(partial)
    first = next(rows, None)
    if first is None:
        return 0, 0
    with atomic_file(out) as file:
        for line, row in itertools.chain([first], rows):
            file.write(line)
            num_reports += 1
            num_unfinished += not row["finished"]
    return num_reports, num_unfinished


def _drafted(partial: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines of a partial file after its first, which says whose it is."""
    return itertools.islice(each_line(partial), 1, None)


def _write(path: Path, stream: Any, row: Mapping[str, Any]) -> None:
    with output_errors(path):
        line = json_line(row)
        while line:
            line = line[stream.write(line) :]


def _write_skipped(out: Path, skipped: Iterable[Skipped]) -> None:
    path = out.with_name(out.name + ".skipped.jsonl")
    with output_errors(path):
        path.unlink(missing_ok=True)
    rows = [{"study_id": study.study_id, "reason": study.reason} for study in skipped]
    if rows:
        write_lines(path, rows)


def _is_copy(out: Path, partial: Path) -> bool:
    """Whether ``out`` is what a job had just made of ``partial`` when a kill kept it from removing that."""
    if not out.is_file():
        return False
    with out.open("rb") as copied:
        pairs = itertools.zip_longest(copied, (line for line, _ in _drafted(partial)))
        first = next(pairs, (None, None))
        return first[0] is not None and first[0] == first[1] and all(own == other for own, other in pairs)


def _resume(partial: Path, identity: Mapping[str, Any]) -> set[str]:
    """Ids already drafted; a torn last line is cut off."""
    drop_torn_line(partial)
    begun = next(each_line(partial), None)
    if begun is not None and begun[1].get("identity") != identity:
        raise OutputError(
            f"{partial}: is from an interrupted job with another checkpoint, input or setting; "
            "finish that job with its own command, or remove the file"
        )
    return {row["study_id"] for _, row in _drafted(partial)}
