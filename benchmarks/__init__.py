"""How fast everything is, as ratios on the machine at hand; ``bcct bench`` runs it."""
