"""Scores localization methods, ours and other people's; knows neither stage."""
