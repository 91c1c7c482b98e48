"""Rates of stages that were measured on this machine: names of machines, and a file of rates."""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

import torch
from sqlalchemy.exc import SQLAlchemyError

from contracts.files import write_atomically
from jobs.db.stage_rates import LONGEST_NAME, blended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

CPU_FACTS = Path("/proc/cpuinfo")


def machine_of(device: torch.device) -> str:
    """Return a name that machines of the same speed share: the GPU, or the CPU and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)[:LONGEST_NAME]
    return f"{torch.get_num_threads()} threads, {_processor()}"[:LONGEST_NAME]


def _processor() -> str:
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class RateStore(Protocol):
    """Rates of persons on machines: `jobs.db.stage_rates.StageRates` or `RateFile`."""

    def read(self, person: str, machine: str) -> Mapping[str, float]:
        """Return the rates of a person on a machine, by name."""

    def record(self, person: str, machine: str, measured: Mapping[str, float]) -> None:
        """Blend measured rates into those of earlier jobs."""


@dataclass(frozen=True)
class MachineRates:
    """The rates of this machine; an outage costs only the accuracy of the estimate."""

    store: RateStore
    machine: str

    def of(self, people: Sequence[str]) -> Mapping[str, float]:
        """Return the rates of a job of these persons, by name: their mean."""
        known: dict[str, list[float]] = {}
        try:
            for person in people:
                for name, rate in self.store.read(person, self.machine).items():
                    known.setdefault(name, []).append(rate)
        except SQLAlchemyError as error:
            logger.warning("rates not read", extra={"reason": str(error)})
        return {name: fmean(rates) for name, rates in known.items()}

    def learn(self, people: Sequence[str], measured: Mapping[str, float]) -> None:
        """Record the rates that a job has measured; of two persons they are not known apart."""
        if len(set(people)) > 1:
            return
        try:
            self.store.record(people[0], self.machine, measured)
        except SQLAlchemyError as error:
            logger.warning("rates not written", extra={"reason": str(error)})


class RateFile:
    """Rates of all persons in one file, for commands without a database.

    A file that cannot be read or written costs only the accuracy of the estimate.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, person: str, machine: str) -> Mapping[str, float]:
        """Return the rates of a person on a machine, by name."""
        return self._content().get(machine, {}).get(person, {})

    def record(self, person: str, machine: str, measured: Mapping[str, float]) -> None:
        """Blend measured rates into those of earlier runs."""
        content = self._content()
        rates = content.setdefault(machine, {}).setdefault(person, {})
        for name, rate in measured.items():
            rates[name] = blended(rates.get(name), rate)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(self._path) as draft:
                draft.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        except OSError as error:
            logger.warning("rates not written", extra={"reason": str(error)})

    def _content(self) -> dict[str, dict[str, dict[str, float]]]:
        try:
            content: dict[str, dict[str, dict[str, float]]] = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
