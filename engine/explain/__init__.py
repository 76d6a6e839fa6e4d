"""Explanations: the maps of slot models and of attribution methods, and the metrics that measure them."""
