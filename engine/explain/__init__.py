"""Explanations: maps of slot models and of attribution methods, and the metrics of maps."""
