"""Conditions on rows that several queries share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, FromClause


def shows(person: ColumnElement[str]) -> ColumnElement[bool]:
    """Condition: the job shows the person, alone or as one of two."""
    return sa.or_(jobs.c.person == person, jobs.c.partner_person == person)


def shows_only(people: Collection[str], table: FromClause = jobs) -> ColumnElement[bool]:
    """Condition: the job shows nobody but these persons. table: `jobs`, or an alias of it."""
    partner = table.c.partner_person
    return sa.and_(table.c.person.in_(people), sa.or_(partner.is_(None), partner.in_(people)))


def shows_none(people: Collection[str], table: FromClause = jobs) -> ColumnElement[bool]:
    """Condition: the job shows none of these persons. table: as above."""
    partner = table.c.partner_person
    other = sa.or_(partner.is_(None), partner.not_in(people))
    return sa.and_(table.c.person.not_in(people), other)
