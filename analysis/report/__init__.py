"""What `toysup-analyze` prints and draws, as calls: `analysis.report.gram(runs)` gives its table and figures."""

from toysup.analysis.report.calls import *  # noqa: F403
from toysup.analysis.report.calls import __all__ as _calls
from toysup.analysis.report.report_call import specifications, write_report

__all__ = [*_calls, "specifications", "write_report"]
