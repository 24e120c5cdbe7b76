"""One self-contained HTML page of a runs folder: fronts, and for each point where its cost goes."""

from djpq.report.page import write_report

__all__ = ["write_report"]
