"""``python -m studies.field``: the forms of SCOUTER beside other ways to explain a classifier, in one table.

It imports whatever it measures; nothing imports it.
"""
