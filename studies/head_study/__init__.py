"""``python -m studies.head_study``: classifier heads side by side on the frozen features of a dataset.

A program: it imports whatever it compares, and nothing imports it.
"""
