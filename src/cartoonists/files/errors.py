"""Errors that several rooms raise and one line of a log shows."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, altered, damaged or of an unknown format."""
