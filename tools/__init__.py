"""Tools that import nothing else of the project: processes, files, the console, figures."""

VERSION = "0.2.0"  # of the project, as in pyproject.toml; checkpoints and results carry it


class ToolError(ValueError):
    """Error of a file, folder or launch; the message is one line that says what to do."""


def first_line(error: Exception) -> str:
    """First line of an error's message, at most 160 characters; the error's type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
