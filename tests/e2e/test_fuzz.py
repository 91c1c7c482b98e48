"""A hundred damaged files through API and worker; `make fuzz` sends thousands."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.fuzzing import fuzz, mutated, seeds

pytestmark = pytest.mark.services


def test_damaged_files_are_refused_or_done_and_nobody_dies(stack: Stack, tmp_path: Path) -> None:
    report = fuzz(stack, mutated(seeds(tmp_path), seed=7, count=100))

    assert list(report.faults) == [], "\n".join(report.lines())
    assert report.restarts == 0
    assert report.ends["succeeded"] > 5
    assert sum(each.job_id is None for each in report.sent) > 5


def test_the_same_seed_makes_the_same_files() -> None:
    kinds = {"a": bytes(range(256)) * 8, "b": b"OggS" + bytes(300)}

    assert list(mutated(kinds, seed=3, count=30)) == list(mutated(kinds, seed=3, count=30))
    assert list(mutated(kinds, seed=3, count=30)) != list(mutated(kinds, seed=4, count=30))
