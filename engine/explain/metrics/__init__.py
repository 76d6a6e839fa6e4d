"""Explanation metrics, one file each; :mod:`engine.explain.metrics.registry` lists them."""
