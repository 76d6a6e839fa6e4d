"""``python -m studies.benchmark``: speed of each part of the program and of its reference.

It imports whatever it measures; nothing imports it.
"""
