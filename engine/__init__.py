"""Training, evaluation and explanation of models; nothing here reads the command line."""


class TrainingError(RuntimeError):
    """Failure of training or evaluation; the message is one line that names a remedy."""
