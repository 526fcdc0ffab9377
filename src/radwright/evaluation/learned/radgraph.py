"""RadGraph rewards and RadGraph F1 on graphs that a user has had RadGraph write.

Rewards: Delbrouck et al., EMNLP Findings 2022, as their package ``radgraph`` computes them. F1: Yu et al., Patterns
2023, as their repository CXR-Report-Metric computes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from radwright.errors import ScoringError
from radwright.evaluation.learned.supply import Part
from radwright.evaluation.learned.texts import Pair, mean_scores, rows_of_pairs
from radwright.metrics.base import FloatArray

Graph = Mapping[str, Mapping[str, Any]]
"""Entity id -> its tokens, label and relations, as RadGraph writes them."""
_NO_WORDS = re.compile(r"[\W_]+")


class RadGraph:
    """Four scores of a draft's graph against the reference's.

    - ``radgraph_simple``: F1 of entities as (tokens, label).
    - ``radgraph_partial``: F1 of entities as (tokens, label, whether a relation goes out); what "RadGraph F1" in most
      papers is.
    - ``radgraph_complete``: F1 of (tokens, label, relation, tokens of its target) for every relation, and of
      (tokens, label) for entities without one.
    - ``radgraph_f1``: mean of the F1 of entities and the F1 of relations as (tokens and label, tokens and label of the
      target, relation); what RadCliQ uses.

    Graphs are found by the letters and digits of their text, so a draft needs a graph whichever file it comes in. Where
    a draft or a reference has none there is no score at all, since the studies that happen to have one would be no
    fair choice. A text without words has the empty graph. A row is the four scores and 1; not a number without a graph.
    """

    names = ("radgraph_simple", "radgraph_partial", "radgraph_complete", "radgraph_f1")
    higher_is_better = (True,) * 4
    reads_as_written = True
    variant = "RadGraph graphs as supplied, mean over studies"
    why_unscored = "have no graph for the draft or the reference (give RadGraph's output for all of them)"
    parts = (
        Part(
            "graphs",
            "a JSON of RadGraph's output for the drafts, and again for the references",
            "the package radgraph, or PhysioNet's RadGraph 1.0.0",
            many=True,
        ),
    )
    built_on: tuple[str, ...] = ()

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        """From graphs by ``key`` of their text."""
        self._graphs = {"": {}, **graphs}

    @classmethod
    def load(cls, graphs: Sequence[Path]) -> RadGraph:
        """From files.

        Raises:
            ScoringError: a file cannot be read, or holds no graphs.
        """
        pool: dict[str, Graph] = {}
        for path in graphs:
            pool |= read_graphs(path)
        return cls(pool)

    def rows(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
        """Statistics (n, 5); see ``Metric``."""
        return rows_of_pairs(self._compare, hypotheses, references)

    def scores(self, sums: FloatArray) -> FloatArray:
        """(..., 4) mean F1 in [0, 1]; not a number where a graph is missing."""
        return mean_scores(sums)

    def similarities(self, pairs: Sequence[Pair]) -> FloatArray:
        """RadGraph F1 of each pair, as RadCliQ uses it; not a number where a graph is missing."""
        compared: FloatArray = self._compare(pairs)[:, 3]
        return compared

    def _compare(self, pairs: Sequence[Pair]) -> FloatArray:
        statistics = np.full((len(pairs), 5), np.nan)
        for row, (draft, text) in zip(statistics, pairs, strict=True):
            ours, theirs = self._graphs.get(key(draft)), self._graphs.get(key(text))
            if ours is not None and theirs is not None:
                row[:] = [*compare_graphs(ours, theirs), 1]
        return statistics


def compare_graphs(ours: Graph, theirs: Graph) -> tuple[float, float, float, float]:
    """The simple, partial and complete rewards, and RadGraph F1 (see ``RadGraph``)."""
    entities = f1(_entities(ours), _entities(theirs))
    partial = f1(_entities_and_whether_related(ours), _entities_and_whether_related(theirs))
    complete = f1(_entities_or_relations(ours), _entities_or_relations(theirs))
    return entities, partial, complete, (entities + f1(_relations(ours), _relations(theirs))) / 2


def f1(ours: Set[Any], theirs: Set[Any]) -> float:
    """2 |common| / (|ours| + |theirs|); 0 where both are empty."""
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 0.0


def key(text: str) -> str:
    """Letters and digits of a text: what RadGraph's spacing and punctuation leave as it was."""
    return _NO_WORDS.sub("", text.lower())


def read_graphs(path: Path) -> dict[str, Graph]:
    """Graphs by ``key`` of their text.

    Raises:
        ScoringError: the file cannot be read, or an entry is no graph of RadGraph's.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ScoringError(f"{path}: is no JSON: {error}") from error
    if not isinstance(entries, dict):
        raise ScoringError(f"{path}: a JSON object of study id -> graph is expected")
    graphs: dict[str, Graph] = {}
    for study_id, entry in entries.items():
        try:
            text, entities = entry["text"], entry["entities"]
            for entity in entities.values():
                _node(entity), [(relation, _node(entities[target])) for relation, target in entity["relations"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ScoringError(
                f"{path}: study {study_id!r} is no graph as RadGraph writes it "
                '({"text": ..., "entities": {"1": {"tokens", "label", "relations"}}})'
            ) from error
        graphs[key(str(text))] = entities
    return graphs


def _node(entity: Mapping[str, Any]) -> tuple[str, str]:
    return str(entity["tokens"]), str(entity["label"])


def _entities(graph: Graph) -> set[tuple[str, str]]:
    return {_node(entity) for entity in graph.values()}


def _entities_and_whether_related(graph: Graph) -> set[tuple[tuple[str, str], bool]]:
    return {(_node(entity), bool(entity["relations"])) for entity in graph.values()}


def _entities_or_relations(graph: Graph) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for entity in graph.values():
        tokens, label = _node(entity)
        if not entity["relations"]:
            found.add((tokens, label))
        for relation, target in entity["relations"]:
            found.add((tokens.lower(), label, relation, str(graph[target]["tokens"]).lower()))
    return found


def _relations(graph: Graph) -> set[tuple[tuple[str, str], tuple[str, str], str]]:
    return {
        (_node(entity), _node(graph[target]), relation)
        for entity in graph.values()
        for relation, target in entity["relations"]
    }
