"""Tools that know nothing of models, datasets or explanations: processes, files, the console, figures.

They import nothing of the project but each other.
"""

VERSION = "0.2.0"  # of the project, as in pyproject.toml; checkpoints and results carry it


class ToolError(ValueError):
    """A file, folder or launch that cannot be used; the message is one line that says what to do."""
