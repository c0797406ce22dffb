"""What is told of a run or a survey beside its numbers: a page to read, and a picture of parts."""

from dnmf.report.parts import draw_parts
from dnmf.report.write import write_report

__all__ = ["draw_parts", "write_report"]
