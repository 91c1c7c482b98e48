"""What a wake-up means to the process of a worker."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from celery.worker import state

from worker.process.celery_worker import BROKEN_DEVICE, _look
from worker.process.outcomes import AttemptOutcome


@pytest.fixture(autouse=True)
def _not_stopping() -> Iterator[None]:
    before = state.should_stop
    yield
    state.should_stop = before


class Woken:
    """A wake-up whose shift ends as it is told."""

    def __init__(self, *endings: AttemptOutcome, device: object) -> None:
        self.sent: list[str] = []
        self.shift = SimpleNamespace(run=lambda: list(endings))
        self.bench = SimpleNamespace(device=device)
        self.app = SimpleNamespace(
            conf=SimpleNamespace(broker_url="redis://"),
            send_task=lambda name, args, **_: self.sent.append(args[0]),
        )

    def look(self) -> None:
        _look(self.shift, self.bench, self.app)


def test_a_broken_device_ends_the_process_so_that_a_new_one_can_do_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.process.celery_worker.works", lambda device: False)
    Woken(AttemptOutcome.PUBLISHED, AttemptOutcome.BROKEN, device=torch.device("cpu")).look()

    assert state.should_stop == BROKEN_DEVICE


def test_a_bug_on_a_device_that_works_does_not_end_the_process() -> None:
    before = state.should_stop
    Woken(AttemptOutcome.BROKEN, device=torch.device("cpu")).look()

    assert state.should_stop == before


def test_a_job_that_was_handed_back_is_announced_to_the_others() -> None:
    woken = Woken(AttemptOutcome.PUBLISHED, AttemptOutcome.HANDED_BACK, device=torch.device("cpu"))

    woken.look()

    assert woken.sent == ["handed-back"]
