"""``python -m studies.benchmark``: how fast the parts are, beside what they are compared with, in one run.

A program: it imports whatever it measures, and nothing imports it.
"""
