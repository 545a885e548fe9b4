"""Errors that several rooms raise and one line of a log shows."""

LONGEST_WORD, LONGEST_LINE = 200, 600  # characters; what a file holds may have no end


class CheckpointError(RuntimeError):
    """A checkpoint is missing, altered, damaged or of an unknown format.

    The message is one line, whatever stands in the files that it quotes.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Without line breaks, characters that a terminal may obey, and words without end."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    cut = " ".join(w if len(w) <= LONGEST_WORD else f"{w[:LONGEST_WORD]}..." for w in words)
    return cut if len(cut) <= LONGEST_LINE else f"{cut[:LONGEST_LINE]}..."


class DataError(ValueError):
    """A data file is missing, damaged or not what its format promises."""
