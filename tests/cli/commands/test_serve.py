"""A worker that is stopped while it starts."""

import faulthandler
import os
import signal
from collections.abc import Iterator

import pytest

from cli.commands import serve


@pytest.fixture
def _restored_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    faulthandler.unregister(signal.SIGUSR1)


@pytest.mark.usefixtures("_restored_handler")
def test_a_worker_leaves_at_a_signal_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_BROKER_URL", "memory://")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as for the first process of a container

    def stop_while_it_starts() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal was ignored")

    monkeypatch.setattr(serve, "wait_without_spinning", stop_while_it_starts)

    with pytest.raises(SystemExit) as left:
        serve.run_one_worker()

    assert left.value.code == 0
