"""A wake-up of the worker process."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from celery.worker import state

from worker.process.celery_worker import BROKEN_DEVICE, _wake_up
from worker.process.outcomes import AttemptOutcome


@pytest.fixture(autouse=True)
def _unchanged_state() -> Iterator[None]:
    before = state.should_stop
    yield
    state.should_stop = before


class WakeUp:
    """A wake-up whose claim loop has the given outcomes."""

    def __init__(self, *outcomes: AttemptOutcome, device: object) -> None:
        self.sent: list[str] = []
        self.claim_loop = SimpleNamespace(run=lambda: list(outcomes))
        self.context = SimpleNamespace(device=device)
        self.app = SimpleNamespace(
            conf=SimpleNamespace(broker_url="redis://"),
            send_task=lambda name, args, **_: self.sent.append(args[0]),
        )

    def run(self) -> None:
        _wake_up(self.claim_loop, self.context, self.app)


def test_a_broken_device_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.process.celery_worker.works", lambda device: False)
    WakeUp(
        AttemptOutcome.PUBLISHED, AttemptOutcome.INTERNAL_ERROR, device=torch.device("cpu")
    ).run()

    assert state.should_stop == BROKEN_DEVICE


def test_a_bug_on_a_working_device_does_not_end_the_process() -> None:
    before = state.should_stop
    WakeUp(AttemptOutcome.INTERNAL_ERROR, device=torch.device("cpu")).run()

    assert state.should_stop == before


def test_a_job_that_was_handed_back_wakes_other_workers() -> None:
    wake_up = WakeUp(
        AttemptOutcome.PUBLISHED, AttemptOutcome.HANDED_BACK, device=torch.device("cpu")
    )

    wake_up.run()

    assert wake_up.sent == ["handed-back"]
