"""The loops: training, evaluation, explanation. They know neither flags nor datasets nor model classes."""


class TrainingError(RuntimeError):
    """Training that cannot go on; the message is one line that says what to try."""
