"""The five lists of things, as data: ``name -> "module:Class"``, resolved lazily.

A name that holds a ``:`` is an outside class, so a user adds a dataset, a method or a metric without a fork.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from radwright.errors import ConfigError, near

SOURCES: Mapping[str, str] = {
    "r2gen": "radwright.data.sources.r2gen:R2GenSource",
    "openi": "radwright.data.sources.openi:OpenISource",
    "mimic-cxr": "radwright.data.sources.mimic_cxr:MimicCxrSource",
    "covid-chestxray": "radwright.data.sources.covid_chestxray:CovidChestXraySource",
    "table": "radwright.data.sources.table:TableSource",
    "parquet": "radwright.data.sources.parquet:ParquetSource",
    "phantom": "radwright.data.sources.phantom:PhantomSource",
}
METHODS: Mapping[str, str] = {
    "vlci": "radwright.methods.cmcrl.vlci:Vlci",
    "radcare": "radwright.methods.cmcrl.radcare:RadCare",
    "alignment": "radwright.methods.trrg.alignment:Alignment",
    "trrg": "radwright.methods.trrg.model:Trrg",
}
OBJECTIVES: Mapping[str, str] = {
    "teacher_forcing": "radwright.methods.objectives:TeacherForcing",
    "propensity_weighted": "radwright.methods.propensity:PropensityWeighted",
    "neighbour_consensus": "radwright.methods.neighbour_consensus:NeighbourConsensus",
    "self_critical": "radwright.methods.self_critical:SelfCritical",
    "radcare": "radwright.methods.cmcrl.pretraining:RadCareObjective",
    "sentence_contrast": "radwright.methods.trrg.contrast:SentenceContrast",
    "clued_report": "radwright.methods.trrg.tuning:CluedReport",
}
METRICS: Mapping[str, str] = {
    "bleu": "radwright.metrics.bleu:Bleu",
    "rouge_l": "radwright.metrics.rouge:RougeL",
    "cider": "radwright.metrics.cider:Cider",
    "meteor15_es": "radwright.metrics.meteor:Meteor",
    "chrf": "radwright.metrics.chrf:Chrf",
    "finding_score": "radwright.metrics.finding_score:FindingScore",
    "clinical": "radwright.metrics.clinical:ClinicalF1",
    "clinical_errors": "radwright.metrics.finding_score:ClinicalErrors",
    "chexbert": "radwright.evaluation.learned.chexbert:Chexbert",
    "bertscore": "radwright.evaluation.learned.bertscore:BertScore",
    "radgraph": "radwright.evaluation.learned.radgraph:RadGraph",
    "radcliq": "radwright.evaluation.learned.radcliq:RadCliQ",
    "ratescore": "radwright.evaluation.learned.ratescore:RateScore",
    "green": "radwright.evaluation.learned.green:Green",
}
BACKBONES: Mapping[str, str] = {
    "resnet": "radwright.nn.resnet:ResNetStem",
    "densenet": "radwright.nn.densenet:DenseNetStem",
    "huggingface": "radwright.nn.folder_backbone:FolderBackbone",
}


def resolve(table: Mapping[str, str], name: str, *, kind: str) -> Any:
    """Import what ``name`` stands for in ``table``.

    Args:
        table: one of the tables above.
        name: a name in the table, or ``module:Class`` for an outside class.
        kind: what the table lists, for the message (``"dataset format"``).

    Raises:
        ConfigError: unknown name (with the near one), or an outside class that cannot be imported.
    """
    target = name if ":" in name else table.get(name)
    if target is None:
        raise ConfigError(f"unknown {kind} {name!r}{near(name, table)}; known: {', '.join(table)}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in table:
            raise
        raise ConfigError(f"{kind} {name!r}: cannot be imported: {error}") from error
