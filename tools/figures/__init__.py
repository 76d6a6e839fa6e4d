"""Figures and the report page: from numbers and maps to files for people."""
