"""What reports say: the ontology of findings and the rule-based reader of report text. No weights, no network."""

from radwright.findings.mention import Mention, ReadReport, Status
from radwright.findings.reader import read_report
from radwright.findings.version import VERSION

__all__ = ["VERSION", "Mention", "ReadReport", "Status", "read_report"]
