"""The door where device and threads are chosen, once for a process."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jobs.settings import Settings

logger = logging.getLogger(__name__)


class DeviceError(ValueError):
    """The device that was asked for cannot be had."""


def choose_device(wanted: str) -> torch.device:
    """The device that `VISAVIS_DEVICE` names: `cpu`, `cuda`, `cuda:1`, or `auto`."""
    if wanted == "cpu":
        return torch.device("cpu")
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    asked = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", wanted)
    if asked is None:
        raise DeviceError(
            f"VISAVIS_DEVICE is {wanted!r}; set it to auto, cpu, cuda, or cuda:1 for the second GPU"
        )
    return _gpu(wanted, int(asked[1] or 0))


def start(settings: Settings) -> torch.device:
    """Choose the device and take as many threads as the settings give."""
    device = choose_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.backends.cudnn.allow_tf32 = False  # released numbers hold in float32 on a GPU, too
    facts = {"device": describe(device), "threads": torch.get_num_threads()}
    logger.info("runtime", extra=facts | {"torch": torch.__version__})
    return device


def describe(device: torch.device) -> str:
    """`cpu`, or the GPU by name."""
    if device.type == "cpu":
        return "cpu"
    return f"{device} ({torch.cuda.get_device_name(device)})"


def works(device: torch.device) -> bool:
    """Whether the device still computes: after some CUDA errors a process never does again."""
    try:
        return bool((torch.ones(8, device=device).sum() == 8).item())
    except RuntimeError:
        return False


def _gpu(wanted: str, index: int) -> torch.device:
    if not torch.cuda.is_available():
        built = "sees no GPU" if torch.version.cuda else "is built for the CPU"
        raise DeviceError(
            f"VISAVIS_DEVICE is {wanted} and torch {torch.__version__} {built}; set it to auto or "
            "cpu, or install driver and torch for the GPU"
        )
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"VISAVIS_DEVICE is {wanted} and there are {count} GPUs; the last is cuda:{count - 1}"
        )
    return torch.device("cuda", index)
