"""The comparison of candidate scores prints a row for each of them."""

import numpy as np

from benchmarks.trust_scores import _print_table


def test_the_table_has_both_halves(capsys):
    right = np.array([True, True, False, False, True, True])
    _print_table(right, {"good": right.astype(float), "nothing": np.ones(6)}, 0.5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 images, 66.7 % of boxes right, tau 0.50")
    assert lines[3].startswith("| good | 11.11 | 11.11 |")
    assert lines[4].startswith("| nothing | 33.33 | 33.33 |")
