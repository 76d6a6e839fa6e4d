"""Figures and the report page, made of metrics and maps."""
