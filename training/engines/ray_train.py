"""Processes of a Ray cluster, started and restarted by Ray Train.

The only module that imports Ray, an extra. Without the address of a cluster (`RAY_ADDRESS`), Ray
runs on this machine and ends with the command.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import chdir
from typing import TYPE_CHECKING

from contracts.errors import InputError
from training.engines.environment import PACKAGES, find_our_packages
from training.loop.distributed import TIMEOUT, choose_device

DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # busy machines import torch slowly
    "RAY_DEDUP_LOGS": "0",  # or lines of losses are left out after a restart
}
for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)  # before Ray is imported, which reads some of them

try:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer, get_device
    from ray.train.v2.api.exceptions import WorkerGroupError
except ImportError as error:
    raise InputError(
        f'--engine ray: {error}; install it with pip install "visavis-server[ray]"'
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    import torch

    Work = Callable[[dict[str, Any], torch.device], None]

ADDRESS = "RAY_ADDRESS"
STARTS = 10  # Ray gives itself 30 s for a start, which a busy machine may exceed
OBJECT_STORE_BYTES = 100 << 20  # of Ray on this machine: tensors and files do not pass through it
# Of Ray on this machine only, set before its first process starts.
LOCAL_DEFAULTS = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_prestart_worker_first_driver": "0",
}


def launch(
    work: Work,
    options: dict[str, Any],
    *,
    processes: tuple[int, int],
    restarts: int,
    device: str,
    folder: Path,
) -> None:
    """Call `work(options, device)` in processes of Ray.

    When one fails, all are started again, at most `restarts` times, and resume from the latest
    checkpoint.

    processes: fewest and most; with fewer than the most, the run is resized when the cluster grows.
    folder: for the files of Ray Train. Raises: InputError: when the run has failed.
    """
    find_our_packages()
    with chdir(PACKAGES):  # Ray lets its processes import from the working folder of this one
        _connect(most=processes[1])
    use_gpu = device == "cuda" or (device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    fewest, most = processes
    trainer = TorchTrainer(
        _work_in_process,
        train_loop_config={"work": work, "options": options},
        torch_config=TorchConfig(
            backend="nccl" if use_gpu else "gloo", timeout_s=int(TIMEOUT.total_seconds())
        ),
        scaling_config=ScalingConfig(
            num_workers=most if fewest == most else processes, use_gpu=use_gpu
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.resolve()),
            failure_config=FailureConfig(max_failures=restarts),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        first = next(iter(error.worker_failures.values()))
        raise InputError(f"the run failed: {first}") from error
    finally:
        ray.shutdown()


def _connect(*, most: int) -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one on this machine."""
    if os.environ.get(ADDRESS):
        ray.init(log_to_driver=True, logging_level=logging.WARNING)
        return
    for name, value in LOCAL_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # A token for this run; Ray would write one into the home folder.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for left in reversed(range(STARTS)):
        try:
            _start(most)
        except Exception as error:  # Ray raises plain exceptions
            ray.shutdown()
            if not left:
                raise InputError(f"Ray did not start: {error}") from error
        else:
            return


def _start(most: int) -> None:
    """Start Ray on this machine."""
    ray.init(
        address="local",
        num_cpus=max(most, os.cpu_count() or 1),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=True,
        logging_level=logging.ERROR,
        # Without a dashboard, Ray Train warns twice a second that it does not answer.
        logging_config=ray.LoggingConfig(log_level="ERROR"),
    )


def _work_in_process(config: dict[str, Any]) -> None:
    """Train in a process of Ray, whose process group Ray Train has opened."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    device = get_device()
    config["work"](config["options"], device if device.type == "cuda" else choose_device("cpu"))
