"""Benchmarks: speed as ratios on one machine (``bcct bench``), and the long fault runs."""
