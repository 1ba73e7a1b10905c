"""What stops a benchmark."""


class Failure(Exception):
    """A measurement that can't be made or does not count; the text says why, and what to do."""
