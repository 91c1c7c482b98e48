"""Ids in keyed lines."""

import numpy as np

from models.watermark.code import KeyedLines, chance, score, watermark_id


def lines(key: bytes = b"key") -> KeyedLines:
    return KeyedLines(key, "test", 1000, 0.5)


def noisy(spectrum: np.ndarray, noise: float) -> np.ndarray:
    random = np.random.default_rng(3)
    shape = (2, len(spectrum))
    real, imaginary = random.normal(0, noise, shape)
    return np.asarray(spectrum + real + 1j * imaginary, np.complex64)


def test_ids_are_read_through_noise_as_strong_as_the_lines() -> None:
    for mark_id in (0, 1, 0xFEDCBA9876543210, (1 << 64) - 1):
        measured = noisy(lines().spectrum(mark_id), 0.7)

        assert lines().read(measured) == mark_id


def test_noise_has_no_id_and_a_low_score() -> None:
    measured = noisy(np.zeros(1000), 1.0)

    assert lines().read(measured) is None
    assert abs(score(measured, lines().sync)) < 4


def test_another_key_reads_nothing() -> None:
    spectrum = lines().spectrum(77)

    assert lines(b"other").read(spectrum) is None
    assert abs(score(spectrum, lines(b"other").sync)) < 4


def test_an_id_depends_on_key_and_request() -> None:
    ids = {watermark_id(key, digest) for key in (b"a", b"b") for digest in ("1", "2")}

    assert len(ids) == 4
    assert all(0 <= each < 1 << 64 for each in ids)
    assert watermark_id(b"a", "1") == watermark_id(b"a", "1")


def test_the_chance_of_a_score_counts_all_trials() -> None:
    assert chance(6.0, 1) < 1e-8
    assert chance(6.0, 10_000) > 1e-6
    assert chance(0.0, 10) == 1.0


def test_a_known_id_is_read_through_more_noise_than_its_check() -> None:
    ids = [int(each) for each in np.random.default_rng(1).integers(1 << 63, size=300)]
    measured = noisy(lines().spectrum(ids[7]), 2.0)

    assert lines().read(measured) is None
    assert lines().read(measured, ids) == ids[7]
    assert lines().read(measured, ids[:7]) is None
    assert lines().read(noisy(np.zeros(1000), 1.0), ids) is None
