"""Fuzz test of API and worker with forty mutated files; `make fuzz` sends thousands."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.fuzzing import fuzz, mutated, seeds

pytestmark = pytest.mark.services


def test_mutated_files_are_rejected_or_rendered_without_a_crash(
    stack: Stack, tmp_path: Path
) -> None:
    report = fuzz(stack, mutated(seeds(tmp_path), seed=7, count=40))

    assert list(report.faults) == [], "\n".join(report.lines())
    assert report.restarts == 0
    assert report.ends["succeeded"] > 5
    assert sum(each.job_id is None for each in report.sent) > 5


def test_equal_seeds_give_equal_files() -> None:
    kinds = {"a": bytes(range(256)) * 8, "b": b"OggS" + bytes(300)}

    assert list(mutated(kinds, seed=3, count=30)) == list(mutated(kinds, seed=3, count=30))
    assert list(mutated(kinds, seed=3, count=30)) != list(mutated(kinds, seed=4, count=30))
