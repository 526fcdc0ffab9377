"""A network as graphs that another engine runs: what each takes and gives, and the capability to be taken apart so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from radwright.types import Decodable


@dataclass(frozen=True, slots=True)
class Graph:
    """One part of a network, with examples of what it takes.

    Attributes:
        module: in evaluation mode; takes the inputs in order, gives a tuple of the outputs in order.
        inputs: name -> an example; every size that varies is at least 2 in it, and differs from those that do not.
        outputs: names.
        varying: input's name -> its dimensions that vary -> the name of each, the same name for the same size.
        kind: what most of it is: what it may be quantised as.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    varying: Mapping[str, Mapping[int, str]]
    kind: str


class Runner(Protocol):
    """Runs a graph by its name."""

    def __call__(self, name: str, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Its outputs, in order; tensors of the CPU, contiguous."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """A network that can be taken apart into graphs, and put together again on whatever runs them."""

    def graphs(self) -> Mapping[str, Graph]:
        """Its parts.

        Raises:
            CheckpointError: a form of it that cannot be taken apart.
        """
        ...

    def on_graphs(self, run: Runner) -> Decodable:
        """What decodes with these parts, run elsewhere; of this network it keeps its sizes, no weights."""
        ...
