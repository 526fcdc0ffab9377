"""The table of docs/silence.md: a checkpoint calibrated on a fresh phantom population, and held against two others.

The populations are the quickstart's with a seed of their own: studies like those that calibrate, and the same studies
with noise on the images. A part that an earlier call finished is not done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from radwright.config import Config
from radwright.data.degraded import Condition, degrade_study, parse_conditions
from radwright.data.files import output_errors, write_text
from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.sources.base import StudyReference
from radwright.data.sources.phantom import DEFAULT, PhantomSource
from radwright.errors import OutputError, TrainingError
from radwright.evaluation.page.silence import LevelRow
from radwright.evidence.silence import SILENCE_FILE
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import load_checkpoint
from radwright.runs.calibration import CalibrationRequest, CalibrationResult, run_calibration
from radwright.runs.commands import run_command
from radwright.runs.drafting import ShowProgress
from radwright.runs.evidence import QUICKSTART, phantom_of
from radwright.runs.finished import fingerprint
from radwright.runs.outputs import write_json
from radwright.runs.provenance import provenance
from radwright.runs.training import BEST
from radwright.types import Study

TABLE, NUMBERS = "silence_table.md", "silence_table.json"
DEMO, COPY, LIKE, NOISY = "demo", "checkpoint", "like", "noisy"
UNLIKELY = 0.01
"""So many losses or more with a smaller chance than this, of studies like those that calibrated, stand in bold."""


class SilenceTableConfig(Config):
    """What the table is made of."""

    checkpoint: Path | None = None
    """A checkpoint directory; None: ``radwright demo`` trains one from nothing."""
    num_calibrating: int = Field(default=3000, ge=18)
    """Studies that calibrate: about half of them fit the probabilities, the others set the bars."""
    num_like: int = Field(default=3000, ge=1)
    """Studies like them that the bars are held against."""
    num_noisy: int = Field(default=1000, ge=1)
    """Of these, the first so many are drafted once more with noise on their images."""
    noise: float = Field(default=0.1, ge=0, le=1)
    """Standard deviation of the noise on the files' own pixels, as a share of full scale. A network that scales them
    down meets less; in ``radwright robustness`` the same amount is done after scaling, and is far worse."""
    seed: int = 77
    """Of the population; not the quickstart's own, whose studies the network was trained on."""
    levels: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    """Rows."""
    device: str = "auto"
    """As for drafting."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads, and processes that make studies; None: all cores, one process."""
    batch_size: int = Field(default=16, ge=1)
    """Studies decoded at once."""


class NoisyPhantom(PhantomSource):
    """A phantom population with something wrong with its images.

    Options besides the phantom's: ``condition``, as for ``radwright robustness`` and with its amount, but done to the
    file's own pixels, which no network has scaled yet.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        """Read the config.

        Raises:
            SourceError, ConfigError: see ``PhantomSource``; or no such condition.
        """
        super().__init__(path, {name: value for name, value in options.items() if name != "condition"})
        self.condition: Condition = parse_conditions([options["condition"]])[0]
        self.image = ImageConfig(size_px=self.config.size_px)

    def load(self, reference: StudyReference) -> Study:
        """Make one study; its draws depend on its id alone."""
        return degrade_study(super().load(reference), self.condition, self.image)


@dataclass(frozen=True, slots=True)
class SilenceTable:
    """The table and what it was made of.

    Attributes:
        config: what was asked for.
        calibration: on the studies that calibrate.
        like: held against studies like them.
        noisy: held against studies with noise.
    """

    config: SilenceTableConfig
    calibration: CalibrationResult
    like: CalibrationResult
    noisy: CalibrationResult

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        parts = {"calibration": self.calibration, LIKE: self.like, NOISY: self.noisy}
        made = provenance()
        return {
            **{name: made[name] for name in ("radwright", "commit", "machine", "threads", "torch")},
            "config": self.config.plain(),
            "weights": self.calibration.silence.job["weights"],
            **{name: result.plain() for name, result in parts.items()},
        }

    def markdown(self) -> str:
        """The table, below the numbers that it rests on."""
        found = self.calibration.values
        counts = found["studies"]
        made = provenance()
        head = [
            "level",
            "true findings kept",
            "by name only",
            "random filter",
            f"risk on {self.like.values['studies']['studies']:,} like them",
            f"risk on {self.noisy.values['studies']['studies']:,} with noise",
        ]
        rows = zip(self.calibration.rows, self.like.rows, self.noisy.rows, strict=True)
        return "\n".join(
            [
                f"{counts['studies']:,} studies calibrated ({counts['fit']:,} fitted the probabilities, "
                f"{counts['bars']:,} set the bars); {100 * found['unfiltered']['risk']:.1f} % of the unfiltered drafts "
                f"of those that set them fabricate. Weights {self.calibration.silence.job['weights'][:12]}, commit "
                f"{made['commit'] or 'unknown'}, {made['machine']}.",
                "",
                f"| {' | '.join(head)} |",
                f"|{'---|' * len(head)}",
                *(f"| {' | '.join(_row(*each))} |" for each in rows),
                "",
                "Kept: mean over 200 halvings of the studies that set the bars; –: half of them is too few for the "
                f"level. Bold: so many losses have a chance below {UNLIKELY:g} on studies like those that set them.",
                "",
            ]
        )


def make_silence_table(
    config: SilenceTableConfig,
    out: Path,
    *,
    show_progress: ShowProgress,
    say: Callable[[str], None] = lambda text: None,
) -> SilenceTable:
    """Train (unless there is a checkpoint), make the populations, calibrate, and hold the bars against both.

    The checkpoint that is given stays as it is: a copy of it is calibrated. ``out`` holds ``demo/`` (where one is
    trained), ``checkpoint/``, the two stores, a folder per calibration and check, and the result as
    ``silence_table.json`` and ``silence_table.md``.

    Args:
        config: what to do.
        out: folder for everything.
        show_progress: makes a progress bar.
        say: told what happens.

    Raises:
        KeyboardInterrupt: stopped; the same call goes on from there.
        TrainingError: the training failed; its log is named.
        CheckpointError, ConfigError: the checkpoint or a number cannot be used.
        OutputError, StoreError: ``out`` holds another job, or cannot be written.
    """
    given = _trained(out, config.threads, say) if config.checkpoint is None else config.checkpoint
    load_checkpoint(given, device="cpu")  # refuses what is none before anything is copied or made
    checkpoint = _copied(given, out / COPY / BEST)
    population = phantom_of(QUICKSTART).plain() | {"seed": config.seed}
    say(f"making {config.num_calibrating + config.num_like} studies, and {config.num_noisy} with noise")
    like, noisy = out / "stores" / LIKE, out / "stores" / NOISY
    counts = {"val": config.num_calibrating, "test": config.num_like}
    workers = config.threads or 1
    prepare(Path(DEFAULT), like, _prepared("phantom", population | {"num_studies": counts}, workers))
    few = population | {"num_studies": {"test": config.num_noisy}, "condition": f"noise={config.noise:g}"}
    prepare(Path(DEFAULT), noisy, _prepared(f"{__name__}:{NoisyPhantom.__name__}", few, workers))
    request = CalibrationRequest(
        checkpoint=checkpoint,
        data=like,
        split="val",
        out=out / "calibration",
        share=1,
        levels=config.levels,
        device=config.device,
        threads=config.threads,
        batch_size=config.batch_size,
    )
    results = []
    for told, asked in (
        ("calibrating", request),
        ("holding the bars against studies like them", _check(request, like, out / "check_like")),
        ("holding the bars against studies with noise", _check(request, noisy, out / "check_noisy")),
    ):
        say(told)
        results.append(run_calibration(asked, show_progress=show_progress))
    table = SilenceTable(config, *results)
    write_json(out / NUMBERS, table.plain())
    write_text(out / TABLE, table.markdown())
    return table


def _prepared(format: str, options: Mapping[str, Any], workers: int) -> PrepareConfig:
    return PrepareConfig(format=format, options=dict(options), workers=workers)


def _check(request: CalibrationRequest, data: Path, out: Path) -> CalibrationRequest:
    return replace(request, data=data, split="test", out=out, check=True)


def _trained(out: Path, threads: int | None, say: Callable[[str], None]) -> Path:
    """The demo's checkpoint; what of the demo is done is not done again."""
    demo = out / DEMO
    if not (demo / "result.json").is_file():
        say("training the quickstart's network from nothing, as `radwright demo` does")
        arguments = ["demo", "--out", str(demo), *([] if threads is None else ["--threads", str(threads)])]
        run_command(arguments, log=out / "demo.log", error=TrainingError)
    return demo / "run" / BEST


def _copied(given: Path, checkpoint: Path) -> Path:
    """A copy of a checkpoint without its calibration, so that the one given stays as it is.

    Raises:
        OutputError: there is a copy of another one, or it cannot be written.
    """
    if checkpoint.is_dir():
        if fingerprint(checkpoint) != fingerprint(given):
            raise OutputError(f"{checkpoint}: is a copy of another checkpoint than {given}; choose another --out")
        return checkpoint
    begun = checkpoint.with_name(f".{checkpoint.name}")
    with output_errors(checkpoint):
        shutil.rmtree(begun, ignore_errors=True)
        shutil.copytree(given, begun, ignore=shutil.ignore_patterns(SILENCE_FILE))
        begun.rename(checkpoint)
    return checkpoint


def _row(found: LevelRow, like: LevelRow, noisy: LevelRow) -> Sequence[str]:
    kept = (found.halved_kept, found.by_name_kept, found.random_kept)
    shares = ("–" if share != share else f"{100 * share:.0f} %" for share in kept)
    level = f"{found.level:.2f}" if round(found.level, 2) == found.level else f"{found.level:g}"
    return [level.lstrip("0"), *shares, _risk(like), _risk(noisy)]


def _risk(row: LevelRow) -> str:
    risk, low, high = (_percent(value) for value in (row.risk, row.low, row.high))
    told = f"{risk} % ({low} to {high})"
    return f"**{told}**" if row.chance < UNLIKELY else told


def _percent(share: float) -> str:
    text = f"{100 * share:.1f}"
    return text.removeprefix("0") if text != "0.0" else "0"
