"""The errors of Twintide: the type says who must act, the hint says what to type next.

TwintideError      exit code 1
├── Retryable      try again later: Kafka away, disk full
│   └── Busy       another process holds the lock, and does the same or is done soon
├── Refused        an operator must decide: wrong config, gap in offsets, gate (exit code 2)
│   └── Misconfigured   a configuration, with all that is wrong in it (twintide/problems.py)
├── Corrupt        this file must not be used: its hash or its shape differs
└── Unknown        we cannot tell whether it took effect: look before trying again
"""

import errno
from pathlib import Path


class TwintideError(Exception):
    """Something went wrong that a person can act on. `hint` is what to do or to type next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Retryable(TwintideError):
    """It may work later, without anybody doing anything here."""


class Busy(Retryable):
    """Another process is at work where this one may not be beside it."""


class Refused(TwintideError):
    """It would be wrong to go on; an operator must decide."""

    exit_code = 2


class Corrupt(TwintideError):
    """A file is not what its name, hash or manifest says; nothing of it was used."""


class Unknown(TwintideError):
    """It may or may not have taken effect: look before trying again."""


_LONGEST = 400


def words_of(error: Exception) -> str:
    """What a library says is wrong with a file, on one line: some of them quote the whole row."""
    words = " ".join(str(error).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def unreadable(path: Path, error: Exception, *, hint: str = "") -> Retryable | Corrupt:
    """What it is that a file cannot be read: damage, unless descriptors or memory have run out,
    which says nothing of the file.
    """
    message = f"{path} cannot be read: {words_of(error)}"
    if isinstance(error, OSError) and error.errno in _SCARCE:
        return Retryable(message, hint="see to the limits of this process (`ulimit -a`)")
    return Corrupt(message, hint=hint)
