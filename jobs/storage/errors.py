"""Errors of every storage."""

from __future__ import annotations


class StorageError(RuntimeError):
    """A storage operation failed."""


class StorageFull(StorageError):
    """The storage has no space left."""


class ObjectMissing(StorageError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object not found: {key}")
        self.key = key


class PartMissing(StorageError):
    """A part of an upload has not arrived, or is incomplete."""

    def __init__(self, number: int, *, expected: int, found: int) -> None:
        problem = f"has {found} of {expected} bytes" if found else "is missing"
        super().__init__(f"part {number} {problem}")
        self.number = number
