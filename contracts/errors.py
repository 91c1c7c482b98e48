"""The root of errors that a person can correct: a wrong path, option, file or setting."""

from __future__ import annotations


class InputError(ValueError):
    """A fault in what a person passed; its message is one sentence with the value and the fix.

    Command lines print the message and exit with status 2. Other exceptions are faults of the
    program and keep their traceback.
    """


def os_fault(error: OSError) -> str:
    """Describe a failed file operation in one sentence, with the path if there is one."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason
