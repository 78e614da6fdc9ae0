"""The embedded default: a procedural data set and a small backbone trained for it."""
