"""Machine and versions of a measurement, with its load: a figure without them says little."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

PACKAGES = ("visavis-server", "torch", "numpy", "warp-lang")


@dataclass(frozen=True)
class Machine:
    """Facts that a measurement depends on."""

    cpu: str
    cores: int  # that this process may use
    memory_gigabytes: float
    system: str
    python: str
    packages: dict[str, str]  # name to version, of those that are installed
    priority: int  # nice value of the process: above 0, others may delay it
    load: float = field(default_factory=lambda: os.getloadavg()[0])  # of the last minute


def this_machine() -> Machine:
    """Return the facts of this machine now."""
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        memory_gigabytes=round(_memory() / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
        priority=os.getpriority(os.PRIO_PROCESS, 0),
    )


def _cores() -> int:
    return os.cpu_count() or 1


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
