"""Pages about runs and surveys."""

from dnmf.report.write import write_report

__all__ = ["write_report"]
