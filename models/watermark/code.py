"""Keyed lines of a spectrum that carry a 64-bit id, for pictures and for sound.

A mark is a sum of waves whose phases come from the operator's key. Some of them are the same in
every mark of a key: they show that there is a mark, and where it begins. The others are divided
among ten symbols; the phases of a symbol say which of 256 values it has. Eight symbols are the id,
two are a check.

The phases are drawn from the key, so without the right key each of them is as good as random, in
any picture or sound: a score is then at most one standard deviation of a normal distribution wide.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import erfc, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Complex = NDArray[np.complex64]
    Scores = NDArray[np.float32]

ID_BYTES = 8
CHECK_BYTES = 2
SYMBOLS = ID_BYTES + CHECK_BYTES
VALUES = 256
PHASES = 1 << 16
MOST_CHANCE = 1e-5  # that a piece without a watermark is taken for one with it
TRIALS = 64  # likely ids that are checked: a wrong one passes in 1 of 1000
CLEAR = 3.1  # mean score of the best values; it is 2.8 without an id, and above this in 1 of 100


@dataclass(frozen=True)
class KeyedLines:
    """Phases of `count` lines under a key. use: a name, so that uses of a key are independent."""

    key: bytes
    use: str
    count: int
    sync_share: float  # of the lines, for synchronisation

    @cached_property
    def is_sync(self) -> NDArray[np.bool_]:
        """Lines that are the same in all marks of the key, [count]."""
        drawn = self._drawn("choice", self.count)  # at regular places, a shift would match, too
        return np.argsort(np.argsort(drawn, kind="stable")) < self.sync_share * self.count

    @cached_property
    def sync(self) -> Complex:
        """Unit phases of the lines for synchronisation, 0 elsewhere, [count]."""
        return np.where(self.is_sync, self._phases("sync", self.count), 0)

    @cached_property
    def _lines_of_symbols(self) -> NDArray[np.int64]:
        lines = np.flatnonzero(~self.is_sync)
        each = len(lines) // SYMBOLS
        return lines[: each * SYMBOLS].reshape(each, SYMBOLS).T

    @cached_property
    def _patterns(self) -> Complex:
        """Phases of each value of each symbol, [SYMBOLS, VALUES, lines of a symbol]."""
        each = self._lines_of_symbols.shape[1]
        flat = self._phases("values", SYMBOLS * VALUES * each)
        return flat.reshape(SYMBOLS, VALUES, each)

    def spectrum(self, mark_id: int) -> Complex:
        """Return the phases of all lines of a mark, [count]."""
        lines = self.sync.copy()
        values = self._values(mark_id)
        for symbol in range(SYMBOLS):
            lines[self._lines_of_symbols[symbol]] = self._patterns[symbol, values[symbol]]
        return lines

    def symbols(self, lines: Complex) -> Scores:
        """Return the score of each value of each symbol in measured lines, [SYMBOLS, VALUES].

        Scores are in standard deviations of random lines.
        """
        measured = lines[self._lines_of_symbols]  # [SYMBOLS, lines of a symbol]
        scores = np.einsum("svn,sn->sv", self._patterns.conj(), measured).real
        spread = np.sqrt((np.abs(measured) ** 2).sum(1, keepdims=True) / 2)
        return np.asarray(scores / (spread + 1e-12))

    def read(self, lines: Complex, known: Sequence[int] = ()) -> int | None:
        """Return the id in measured lines [count], or None when it is not certain."""
        return decide(self.key, self.symbols(lines), known)

    def _values(self, mark_id: int) -> list[int]:
        return values_of(self.key, mark_id)

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self.key, self.use.encode() + data, "sha256")

    def _phases(self, name: str, count: int) -> Complex:
        drawn = self._drawn(name, count)
        return np.exp(2j * np.pi / PHASES * drawn).astype(np.complex64)

    def _drawn(self, name: str, count: int) -> NDArray[np.uint16]:
        seed = self._digest(name.encode())
        return np.frombuffer(hashlib.shake_256(seed).digest(2 * count), "<u2")


def decide(key: bytes, scores: Scores, known: Sequence[int] = ()) -> int | None:
    """Return the id by the scores of symbols, [SYMBOLS, VALUES], or None when it is not certain.

    known: ids that may be there; one of them is recognised in scores too low for the check.
    """
    order = scores.argsort(1)
    second, best = (np.take_along_axis(scores, order[:, -n, None], 1)[:, 0] for n in (2, 1))
    choices = np.arange(1 << SYMBOLS)[:, None] >> np.arange(SYMBOLS) & 1  # of the second best
    trials = TRIALS if best.mean() > CLEAR else 0
    for choice in choices[np.argsort(choices @ (best - second), kind="stable")[:trials]]:
        values = order[np.arange(SYMBOLS), -1 - choice]
        mark_id = int.from_bytes(values[:ID_BYTES].astype(np.uint8).tobytes())
        if list(values) == values_of(key, mark_id):
            return mark_id
    if not known:
        return None
    sums = scores[np.arange(SYMBOLS), _values_of_all(key, tuple(known))].sum(1) / np.sqrt(SYMBOLS)
    likely = int(sums.argmax())
    return known[likely] if chance(float(sums[likely]), len(known)) <= MOST_CHANCE else None


def values_of(key: bytes, mark_id: int) -> list[int]:
    """Return the values of the symbols of an id, with its check."""
    data = mark_id.to_bytes(ID_BYTES)
    return list(data + hmac.digest(key, b"check of a mark" + data, "sha256")[:CHECK_BYTES])


@lru_cache(2)
def _values_of_all(key: bytes, ids: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the values of many ids, [ids, SYMBOLS]."""
    return np.array([values_of(key, each) for each in ids])


def watermark_id(key: bytes, request: str) -> int:
    """Return the id of a request's digest under the operator's key, 64 bits."""
    return int.from_bytes(hmac.digest(key, b"watermark id" + request.encode(), "sha256")[:ID_BYTES])


def chance(found: float, trials: int) -> float:
    """Return the probability that any of some scores without a watermark is as high."""
    return min(1.0, trials * erfc(found / sqrt(2)) / 2)


def score(lines: Complex, sync: Complex) -> float:
    """Return the agreement of lines with phases, in standard deviations of random lines."""
    spread = float(np.sqrt((np.abs(lines[sync != 0]) ** 2).sum() / 2))
    return float((lines * sync.conj()).sum().real) / spread if spread else 0.0
