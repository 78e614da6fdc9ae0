"""What ``check-backgrounds`` examines in a folder of background images."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from stage1_bc.background_check.examination import Examination, examine
    from stage1_bc.background_check.findings import background_report
    from stage1_bc.background_check.views import report_lines, report_sections

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "examination": ("Examination", "examine"),
    "findings": ("background_report",),
    "views": ("report_lines", "report_sections"),
})
