"""Which clues a checkpoint is told when it drafts: a policy asked for on the command line, checked and put in force."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.errors import ConfigError, near
from radwright.evaluation.reports import GIVEN_CLUES
from radwright.findings import read_report
from radwright.findings.signature import signature
from radwright.inference.predictor import Predictor
from radwright.methods.trrg.perception import Given, shuffled
from radwright.runs.drafting import Bar, ShowProgress
from radwright.types import ClueTelling, Skipped, Study

POLICIES = ("threshold", "topk", "all", "random", "none", "shuffled", "oracle")
ORACLE_PROBABILITY = 0.95
"""How sure a model is told to be of what the reports themselves say."""
_ORACLE_NOTE = f"{GIVEN_CLUES['oracle']} (the clues were read from the very reports that the drafts are held against)"
_CONTROLS = {
    "random": "as many clues and as sure as perceived, each a disease drawn at random",
    "shuffled": "every study was told the clues of another study",
    "none": "no study was told a clue",
    "all": "every study was told every disease, each with its probability",
}
_SEEDED = ("random", "shuffled")


@dataclass(frozen=True, slots=True)
class ClueRequest:
    """What the command line says of clues.

    Attributes:
        policy: one of ``POLICIES``; None: the checkpoint's own.
        seed: of the policies that draw.
        allow_oracle: whether clues may be read from the reports that the drafts are held against.
    """

    policy: str | None = None
    seed: int = 0
    allow_oracle: bool = False


@dataclass(frozen=True, slots=True)
class CluePlan:
    """A policy that this checkpoint can follow.

    Attributes:
        policy: its name.
        seed: None where nothing is drawn.
        model: fingerprint of the network's config: its diseases, thresholds and prompt may change while the weights
            do not.
    """

    policy: str
    seed: int | None
    model: str

    def plain(self) -> dict[str, Any]:
        """What drafts depend on, for their identity and beside the scores."""
        return {"policy": self.policy, **({} if self.seed is None else {"seed": self.seed}), "model": self.model}

    @property
    def is_oracle(self) -> bool:
        """Whether the clues are read from the reports that drafts are held against."""
        return self.policy == "oracle"

    @property
    def row_facts(self) -> dict[str, Any]:
        """What every draft says of how its clues came about, wherever its line goes."""
        return {"clue_policy": self.policy}

    @property
    def notes(self) -> list[str]:
        """What a reader of drafts or scores must know of the policy."""
        if self.is_oracle:
            return [_ORACLE_NOTE]
        seed = "" if self.seed is None else f", seed {self.seed}"
        return [f"clues {self.policy}: {_CONTROLS[self.policy]}{seed}"] if self.policy in _CONTROLS else []

    def put_in_force(
        self,
        predictor: Predictor,
        studies: Sequence[Study],
        reports: Mapping[str, str],
        show_progress: ShowProgress,
    ) -> None:
        """Let the network choose its clues so.

        Args:
            predictor: whose network it is.
            studies: all that are to be drafted, those too that an earlier call has drafted: clues are shuffled among
                all of them.
            reports: study id -> its own report; only the oracle reads them.
            show_progress: makes a progress bar.

        Raises:
            ConfigError: an oracle, and there are no reports.
            StudyError: clues are to be shuffled, and fewer than two studies can be read.
        """
        model = predictor.checkpoint.model
        if self.is_oracle:
            if not reports:
                raise ConfigError("--clues oracle: there are no reports to read the clues from; give a prepared store")
            model.choose = Given({study_id: _stated(text, model.findings) for study_id, text in reports.items()})
        elif self.policy == "shuffled":
            model.choose = model.policy("threshold")
            with show_progress("perceiving clues", len(studies)) as bar:
                told = _perceived(predictor, (studies[place] for place in range(len(studies))), bar)
            model.choose = shuffled(told, seed=self.seed or 0)
        else:
            model.choose = model.policy(self.policy, seed=self.seed or 0)


def plan_clues(predictor: Predictor, request: ClueRequest) -> CluePlan | None:
    """The policy to follow; None for a network without clues.

    Raises:
        ConfigError: no such policy, a policy for a network without clues, or an oracle without leave.
    """
    if request.policy is not None and request.policy not in POLICIES:
        raise ConfigError(
            f"--clues {request.policy}: no such policy{near(request.policy, POLICIES)}; there are {', '.join(POLICIES)}"
        )
    model = predictor.checkpoint.model
    if not isinstance(model, ClueTelling):
        if request.policy is None:
            return None
        raise ConfigError(
            f"--clues {request.policy}: {predictor.checkpoint.path} is a checkpoint of "
            f"{predictor.checkpoint.config.method!r}, which is told no clues; leave --clues out"
        )
    if request.policy == "oracle" and not request.allow_oracle:
        raise ConfigError(
            "--clues oracle: such clues are read from the very reports that the drafts are held against, so the scores "
            "are an upper bound and no result; to measure that bound, and to have it marked as one: --allow-oracle"
        )
    values = predictor.checkpoint.config.model
    policy = request.policy or str(values.get("policy", POLICIES[0]))
    fingerprint = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    return CluePlan(policy, request.seed if policy in _SEEDED else None, fingerprint)


def _stated(text: str, findings: Mapping[str, str | None]) -> dict[str, float]:
    """The diseases that a report asserts."""
    checked = {name: finding for name, finding in findings.items() if finding is not None}
    said = signature(read_report(text), list(checked.values()))
    return {name: ORACLE_PROBABILITY for name, status in zip(checked, said, strict=True) if status == 1}


def _perceived(predictor: Predictor, studies: Iterable[Study], bar: Bar) -> dict[str, dict[str, float]]:
    told = {}
    for outcome in predictor.told_clues(studies):
        bar.advance()
        if not isinstance(outcome, Skipped):
            study_id, clues = outcome
            told[study_id] = clues
    return told
