"""Leaves that know nothing of the rest: processes, files, logs, meters, metrics, pictures."""


class ToolError(ValueError):
    """A file, folder or launch that cannot be used; the message is one line that says what to do."""
