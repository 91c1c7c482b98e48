"""Choice of the device and the number of threads, once per process."""

from __future__ import annotations

import ctypes
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from contracts.errors import InputError

if TYPE_CHECKING:
    from jobs.settings import Settings

logger = logging.getLogger(__name__)

ARENAS = 2
M_ARENA_MAX = -8  # of mallopt, in malloc.h of glibc

MEMORY_INFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")


class DeviceError(InputError):
    """The device in the settings is invalid or not available."""


def choose_device(name: str) -> torch.device:
    """Return the device that `VISAVIS_DEVICE` names: `cpu`, `cuda`, `cuda:1`, or `auto`.

    Raises: DeviceError: when the name is invalid or the device is not available.
    """
    if name == "cpu":
        return torch.device("cpu")
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", name)
    if match is None:
        raise DeviceError(
            f"VISAVIS_DEVICE: invalid device {name!r}; use auto, cpu, cuda, or cuda:1 (second GPU)"
        )
    return _gpu(name, int(match[1] or 0))


def start(settings: Settings) -> torch.device:
    """Choose the device, set the number of threads as in the settings, and limit arenas."""
    device = choose_device(settings.device)
    limit_arenas()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.backends.cudnn.allow_tf32 = False  # the published numbers need float32 on a GPU, too
    facts = {"device": describe(device), "threads": torch.get_num_threads()}
    logger.info("runtime", extra=facts | {"torch": torch.__version__})
    return device


def limit_arenas() -> None:
    """Let all threads allocate from few arenas; without effect where glibc is not the C library.

    By default glibc keeps up to eight of them for each core, each with what was once freed in it.
    In a long clip, whose windows and frames are computed in threads, this was 90 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)


def describe(device: torch.device) -> str:
    """Return `cpu`, or the device and name of the GPU."""
    if device.type == "cpu":
        return "cpu"
    return f"{device} ({torch.cuda.get_device_name(device)})"


def works(device: torch.device) -> bool:
    """Check that the device still computes; after some CUDA errors it never does in a process."""
    try:
        return bool((torch.ones(8, device=device).sum() == 8).item())
    except RuntimeError:
        return False


def free_memory(device: torch.device) -> float:
    """Return the bytes of memory that are free on the device, at most those of its container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + kept)
    lines = MEMORY_INFO.read_text().splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return min(1024.0 * int(available.split()[1]), _container_memory())


def _container_memory() -> float:
    """Return the bytes that the limit of a container leaves, infinite without one."""
    try:
        limit = int((CONTROL_GROUP / "memory.max").read_text())
        used = int((CONTROL_GROUP / "memory.current").read_text())
        cached = [
            int(line.split()[1])
            for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        ]
    except (OSError, ValueError):  # no control group, or the limit is `max`
        return math.inf
    return float(limit - used + sum(cached))


def _gpu(name: str, index: int) -> torch.device:
    if not torch.cuda.is_available():
        reason = "finds no GPU" if torch.version.cuda else "is built for the CPU"
        raise DeviceError(
            f"VISAVIS_DEVICE: {name} is not available, because torch {torch.__version__} {reason}; "
            "use auto or cpu, or install the GPU driver and torch for the GPU"
        )
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"VISAVIS_DEVICE: {name} does not exist; the last of {count} GPUs is cuda:{count - 1}"
        )
    return torch.device("cuda", index)
