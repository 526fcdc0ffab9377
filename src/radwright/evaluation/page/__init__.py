"""One self-contained HTML page of a run's drafts: images, reference and draft side by side, scores with baselines.

Nothing is fetched from anywhere: style, script, plots and images are inline, and the page's policy forbids the rest.
"""

from radwright.evaluation.page.content import (
    Curve,
    DraftedStudy,
    Estimate,
    FindingScore,
    FindingTable,
    Page,
    PageView,
)
from radwright.evaluation.page.names import metric_name
from radwright.evaluation.page.write import render_page, write_page

__all__ = [
    "Curve",
    "DraftedStudy",
    "Estimate",
    "FindingScore",
    "FindingTable",
    "Page",
    "PageView",
    "metric_name",
    "render_page",
    "write_page",
]
