"""``python -m studies.benchmark``: the speed of each part of the program beside what it is compared with.

A program: it imports whatever it measures, and nothing imports it.
"""
