"""Web page on which a trained slot model explains pictures (``demo.py``)."""
