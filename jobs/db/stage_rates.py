"""Rates of the stages of jobs, for each person and machine, shared by all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobs.db.engine import reading, writing
from jobs.db.tables import stage_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine

LONGEST_NAME = 128  # characters of the name of a machine
NEWEST = 0.4  # weight of the latest measurement


def blended(before: float | None, measured: float) -> float:
    """Return the new rate; the latest jobs count most, because load and machines change."""
    return measured if before is None else before + NEWEST * (measured - before)


class StageRates:
    """Rows of rates."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, person: str, machine: str) -> Mapping[str, float]:
        """Return the rates of a person on a machine, by name."""
        with reading(self._engine) as connection:
            return _rates(connection, person, machine)

    def record(self, person: str, machine: str, measured: Mapping[str, float]) -> None:
        """Blend measured rates into those of earlier jobs."""
        try:
            with writing(self._engine) as connection:
                before = _rates(connection, person, machine)
                for name, rate in measured.items():
                    key = {"person": person, "machine": machine, "name": name}
                    value = {"rate": blended(before.get(name), rate)}
                    if name in before:
                        this = sa.and_(*(stage_rates.c[each] == key[each] for each in key))
                        connection.execute(stage_rates.update().where(this).values(value))
                    else:
                        connection.execute(stage_rates.insert().values(key | value))
        except IntegrityError:
            """Another worker has recorded its first rates at the same time."""


def _rates(connection: Connection, person: str, machine: str) -> dict[str, float]:
    rows = sa.select(stage_rates.c.name, stage_rates.c.rate).where(
        stage_rates.c.person == person, stage_rates.c.machine == machine
    )
    return {row.name: row.rate for row in connection.execute(rows)}
