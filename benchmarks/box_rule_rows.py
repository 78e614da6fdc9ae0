"""Cost of the ``wsol`` rule compared with finding its contours alone."""

import resource
import sys
import time
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.rows import Target, ratio_row
from benchmarks.setting import SIZE
from evaluation.evaluator import Evaluator, default_taus
from evaluation.scoremaps import min_max
from evaluation.truth import Truth

BENCH_MAPS = 300
CELLS = 14  # side of a coarse map before it is upsampled


@dataclass(frozen=True)
class Cost:
    """Cost of evaluating synthetic score maps.

    Attributes:
        maps: number of score maps, 224x224; taus: number of thresholds.
        contours: processor seconds of ``cv2.findContours`` alone, on masks that are ready.
        evaluation: processor seconds of ``Evaluator.accumulate`` and ``compute``.
        peak_bytes: largest memory of the whole process, all imports included.
    """

    maps: int
    taus: int
    contours: float
    evaluation: float
    peak_bytes: int

    @property
    def ratio(self):
        """Time of the evaluation over that of finding the contours."""
        return self.evaluation / self.contours


def synthetic_map(generator):
    """A class map as a network gives it: coarse bumps and noise, upsampled bicubically.

    Args:
        generator: numpy Generator.

    Returns:
        (224, 224) float32 from 0 to 1.
    """
    y, x = np.mgrid[:CELLS, :CELLS]
    coarse = 0.3 * generator.random((CELLS, CELLS))
    for _ in range(generator.integers(1, 4)):
        centre_y, centre_x = generator.uniform(0.2 * CELLS, 0.8 * CELLS, 2)
        spread_y, spread_x = generator.uniform(0.1 * CELLS, 0.3 * CELLS, 2)
        coarse += generator.uniform(0.4, 1) * np.exp(
            -((y - centre_y) / spread_y) ** 2 - ((x - centre_x) / spread_x) ** 2)
    return min_max(cv2.resize(coarse.astype(np.float32), (SIZE, SIZE),
                              interpolation=cv2.INTER_CUBIC))


def wsol_cost(maps, seed=0):
    """Measure both on the same maps, alternating, so that a busy machine slows both equally.

    Args:
        maps: number of score maps.
        seed: of the maps.

    Returns:
        Cost.
    """
    taus = default_taus()
    generator = np.random.default_rng(seed)
    evaluator = Evaluator([Truth(str(place), ((60, 50, 250, 300),), (375, 500), place % 1000)
                           for place in range(maps)], rule="wsol", taus=taus)
    contours = evaluation = 0.0
    for place in range(maps):
        score_map = synthetic_map(generator)
        contours += _seconds(lambda masks: [
            cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE) and None
            for mask in masks], _masks(score_map, taus))
        evaluation += _seconds(evaluator.accumulate, score_map, str(place))
    evaluation += _seconds(evaluator.compute, taus[len(taus) // 2])
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Cost(maps, len(taus), contours, evaluation, peak)


def _masks(score_map, taus):
    levels = (score_map.astype(np.float64) * 255).astype(np.uint8)
    return [cv2.threshold(levels, int(tau * levels.max()), 255, cv2.THRESH_BINARY)[1]
            for tau in taus]


def _seconds(function, *arguments):
    """Processor time, which a busy machine lengthens least; both sides run in one thread."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def wsol_rule(setting):
    """The ``wsol`` box rule at all thresholds over finding the contours alone."""
    ratios = [wsol_cost(BENCH_MAPS, seed=seed).ratio for seed in range(setting.repeats)]
    return [ratio_row("evaluation by the wsol rule / finding its contours", ratios,
                      Target(high=1.5),
                      f"{BENCH_MAPS} maps of 224x224, 100 thresholds, processor time")]
