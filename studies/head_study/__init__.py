"""``python -m studies.head_study``: comparison of classifier heads on the frozen features of a dataset.

It imports whatever it compares; nothing imports it.
"""
