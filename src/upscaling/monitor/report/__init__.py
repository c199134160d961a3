"""The report of a run: one HTML file that needs no network, from the first minute to the last."""

from upscaling.monitor.report.write import write_report

__all__ = ["write_report"]
