"""From probabilities to clues: which diseases are told to the language model, by policy.

Each policy looks at one study at a time, and its draws depend on (seed, study) only, so a batch changes nothing.

Shape legend: B studies, M diseases.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from radwright.errors import StudyError
from radwright.methods.trrg.clue_bank import ClueBank
from radwright.types import ClueTelling

PolicyName = Literal["threshold", "topk", "all", "random", "none"]
"""Policies that need nothing but the probabilities; ``oracle`` and ``shuffled`` are given from outside (``Given``)."""


@dataclass(frozen=True, slots=True)
class Clues:
    """The clues of B studies.

    Attributes:
        keep_BM: bool, the diseases that are told.
        probability_BM: how sure each is, in [0, 1]; what stands at the others is not read.
    """

    keep_BM: Tensor
    probability_BM: Tensor


class Policy(Protocol):
    """Chooses clues."""

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """The clues of B studies whose diseases were perceived with these probabilities."""
        ...


@dataclass(frozen=True, slots=True)
class Threshold:
    """{c : p_c > theta_c}, at most ``max_clues`` of them by p_c - theta_c; equals go to the name that comes first."""

    max_clues: int

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """See ``Policy``."""
        margin_BM = probability_BM - _thresholds(bank, probability_BM)
        return Clues(_best(margin_BM, self.max_clues, bank) & (margin_BM > 0), probability_BM)


@dataclass(frozen=True, slots=True)
class TopK:
    """The ``number`` diseases with the highest p_c - theta_c, below their thresholds too."""

    number: int

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """See ``Policy``."""
        margin_BM = probability_BM - _thresholds(bank, probability_BM)
        return Clues(_best(margin_BM, self.number, bank), probability_BM)


@dataclass(frozen=True, slots=True)
class AllDiseases:
    """Every disease of the bank, each with its probability."""

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """See ``Policy``."""
        return Clues(torch.ones_like(probability_BM, dtype=torch.bool), probability_BM)


@dataclass(frozen=True, slots=True)
class NoClues:
    """None: the language model gets the null clue alone."""

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """See ``Policy``."""
        return Clues(torch.zeros_like(probability_BM, dtype=torch.bool), probability_BM)


@dataclass(frozen=True, slots=True)
class RandomClues:
    """As many clues as ``Threshold`` finds and as sure, but each is a disease drawn at random: a control."""

    max_clues: int
    seed: int = 0

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """See ``Policy``."""
        predicted = Threshold(self.max_clues)(study_ids, probability_BM, bank)
        names = bank.names
        by_name = sorted(range(len(names)), key=names.__getitem__)
        rows = []
        for study_id in study_ids:
            drawn = list(range(len(names)))
            random.Random(f"clues/{self.seed}/{study_id}").shuffle(drawn)
            # Drawn by name, so that the order of the bank does not change which disease it is.
            taken = dict(zip(by_name, (by_name[place] for place in drawn), strict=True))
            rows.append([taken[place] for place in range(len(names))])
        source_BM = torch.tensor(rows, dtype=torch.int64, device=probability_BM.device)
        return Clues(predicted.keep_BM.gather(1, source_BM), probability_BM.gather(1, source_BM))


@dataclass(frozen=True, slots=True)
class Given:
    """Clues from outside: study -> disease -> probability. Serves ``oracle`` and ``shuffled``, and a reader's own."""

    clues: Mapping[str, Mapping[str, float]]

    def __call__(self, study_ids: Sequence[str], probability_BM: Tensor, bank: ClueBank) -> Clues:
        """See ``Policy``.

        Raises:
            StudyError: nothing was given for a study.
        """
        probability_BM = probability_BM.clone()
        keep_BM = torch.zeros_like(probability_BM, dtype=torch.bool)
        for row, study_id in enumerate(study_ids):
            if study_id not in self.clues:
                raise StudyError(f"study {study_id}: no clues were given for it")
            for name, probability in self.clues[study_id].items():
                if name in bank.names:
                    column = bank.names.index(name)
                    keep_BM[row, column], probability_BM[row, column] = True, probability
        return Clues(keep_BM, probability_BM)


@contextmanager
def telling(model: ClueTelling, clues: Mapping[str, Mapping[str, float]]) -> Iterator[None]:
    """While it lasts the network is told these clues (see ``Given``); its own policy comes back."""
    usual = model.choose
    model.choose = Given(clues)
    try:
        yield
    finally:
        model.choose = usual


def make_policy(name: PolicyName, *, max_clues: int, seed: int = 0) -> Policy:
    """The policy of a name; ``seed`` is that of the one that draws."""
    policies: dict[str, Policy] = {
        "threshold": Threshold(max_clues),
        "topk": TopK(max_clues),
        "all": AllDiseases(),
        "random": RandomClues(max_clues, seed),
        "none": NoClues(),
    }
    return policies[name]


def shuffled(clues: Mapping[str, Mapping[str, float]], *, seed: int = 0) -> Given:
    """Every study gets the clues of another one (a cyclic shift of a random order): the decisive control.

    Raises:
        StudyError: fewer than two studies.
    """
    if len(clues) < 2:
        raise StudyError("shuffled clues: one study alone has no other to take clues from")
    order = sorted(clues)
    random.Random(f"shuffled/{seed}").shuffle(order)
    return Given(dict(zip(order, (clues[study_id] for study_id in [*order[1:], order[0]]), strict=True)))


def noisy(clues: Clues, seeds: Sequence[int], *, dropout: float, false_clue: float) -> Clues:
    """Training's clues: each is dropped with one chance, and a false one is put in with another.

    Args:
        clues: as chosen.
        seeds: per study.
        dropout: chance of every clue to be left out.
        false_clue: chance of a study to be told one more disease, drawn from the others.
    """
    keep_BM = clues.keep_BM.clone()
    for row, seed in enumerate(seeds):
        rng = random.Random(seed)
        chosen = keep_BM[row].nonzero().flatten().tolist()
        others = (~keep_BM[row]).nonzero().flatten().tolist()
        dropped = [place for place in chosen if rng.random() < dropout]
        keep_BM[row, dropped] = False
        if others and rng.random() < false_clue:
            keep_BM[row, rng.choice(others)] = True
    return Clues(keep_BM, clues.probability_BM)


def _thresholds(bank: ClueBank, like: Tensor) -> Tensor:
    return torch.tensor(bank.thresholds, dtype=like.dtype, device=like.device)


def _best(margin_BM: Tensor, number: int, bank: ClueBank) -> Tensor:
    """Bool (B, M): the ``number`` highest of each row; of equals the name that comes first."""
    by_name = torch.tensor(sorted(range(len(bank.names)), key=bank.names.__getitem__), device=margin_BM.device)
    order_BM = by_name[margin_BM[:, by_name].sort(dim=1, descending=True, stable=True).indices]
    best = torch.zeros_like(margin_BM, dtype=torch.bool)
    return best.scatter(1, order_BM[:, :number], value=True)
