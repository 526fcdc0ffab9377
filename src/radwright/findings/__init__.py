"""What reports say: the ontology of findings and the rule-based reader of report text. No weights, no network."""

from radwright.findings.mention import Mention, ReadReport, Status

__all__ = ["Mention", "ReadReport", "Status"]
