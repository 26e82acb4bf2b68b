"""The error of a person who runs a training script, as against a fault of the script."""


class UsageError(ValueError):
    """An option or a folder cannot be used; the message is one sentence for the person who gave it."""
