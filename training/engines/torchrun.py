"""Processes of one machine, started and restarted by the elastic agent of torch.

Several machines: each runs the program `torchrun` with a common rendezvous, as in k8s/training.
"""

from __future__ import annotations

import os
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from training.engines.environment import find_our_packages

# Without it, restarted processes find the addresses of their predecessors in the agent's store.
NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def launch(arguments: list[str], *, processes: int, restarts: int) -> None:
    """Run `python -m training` with these arguments in several processes.

    When one fails, all are started again, at most `restarts` times, and resume from the latest
    checkpoint. Raises: SystemExit: with the status of the process that failed last.
    """
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    find_our_packages()
    os.environ[NEW_STORE] = "1"
    try:
        run.main([*options, "-m", "training", *arguments])
    except ChildFailedError as error:  # its log says why
        sys.exit(abs(error.get_first_failure()[1].exitcode))
