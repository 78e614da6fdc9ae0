"""Scores localization methods, ours and other people's; knows neither stage."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from evaluation.evaluator import Evaluator, ImageResult, MaskEvaluator, Result
    from evaluation.mask_figures import figure_lines, score_masks
    from evaluation.report import write_report
    from evaluation.report_content import Method, Report
    from evaluation.tau_sources import tau_from_boxes, tau_from_masks
    from evaluation.threshold import TauChoice, choose_validation, fixed_tau
    from evaluation.truth import EvaluationError, Truth, truth_from_mask, truths_from_dataset

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "evaluator": ("Evaluator", "ImageResult", "MaskEvaluator", "Result"),
    "mask_figures": ("figure_lines", "score_masks"),
    "report": ("write_report",),
    "report_content": ("Method", "Report"),
    "tau_sources": ("tau_from_boxes", "tau_from_masks"),
    "threshold": ("TauChoice", "choose_validation", "fixed_tau"),
    "truth": ("EvaluationError", "Truth", "truth_from_mask", "truths_from_dataset"),
})
