"""Consent of the person shown: the member `consent` of person.json, and the uses that it covers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

COMMERCIAL, NON_COMMERCIAL = "commercial", "non-commercial"
USES = (NON_COMMERCIAL, COMMERCIAL)  # each covers those before it

SYNTHETIC = "synthetic"  # nobody real is shown
LICENCE = "licence"  # released by others under a licence
GIVEN = "given"  # by the person shown, or by someone who may speak for them
NOT_STATED = "not stated"  # a person.json without the member
KINDS = (SYNTHETIC, LICENCE, GIVEN)


@dataclass(frozen=True)
class Consent:
    """Agreement to show a person: by whom, until when, and for which uses."""

    kind: str = NOT_STATED
    uses: tuple[str, ...] = (NON_COMMERCIAL,)  # empty: withdrawn
    given_by: str | None = None
    on: date | None = None  # the first day; None: always
    until: date | None = None  # the last day; None: no end
    licence: str | None = None
    conditions: str | None = None  # in words

    @classmethod
    def parse(cls, members: Mapping[str, Any]) -> Self:
        """Read the member of person.json. Raises: ValueError: naming the faulty part."""
        if not isinstance(members, dict):
            raise ValueError(f"consent: must be an object ({members!r})")
        if unknown := sorted(members.keys() - cls.__dataclass_fields__.keys()):
            raise ValueError(f"consent: unknown member {unknown[0]!r}; remove it")
        kind, uses = members.get("kind"), members.get("uses")
        if kind not in KINDS:
            raise ValueError(f"consent.kind: invalid {kind!r}; choose from {', '.join(KINDS)}")
        if not isinstance(uses, list) or any(use not in USES for use in uses):
            raise ValueError(f"consent.uses: invalid {uses!r}; write a list of {', '.join(USES)}")
        for needed, of in (("given_by", GIVEN), ("licence", LICENCE)):
            if kind == of and not members.get(needed):
                raise ValueError(f"consent.{needed}: missing; {of!r} needs it")
        texts = {name: _text(name, members) for name in ("given_by", "licence", "conditions")}
        on, until = _day("on", members), _day("until", members)
        return cls(kind, tuple(uses), on=on, until=until, **texts)

    def to_json(self) -> dict[str, Any]:
        """Return the members as JSON values, without empty ones."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        days = {name: each.isoformat() for name, each in values.items() if isinstance(each, date)}
        return values | days | {"uses": list(self.uses)}

    def refusal(self, person: str, use: str | None, today: date | None = None) -> str | None:
        """Return the sentence that refuses this use today; None for a use that is covered.

        use: one of `USES`; None where nobody has stated any.
        """
        today = today or datetime.now(UTC).date()
        if not self.uses:
            return f"person: the consent of {person!r} was withdrawn; choose another person"
        if self.until is not None and today > self.until:
            return (
                f"person: the consent of {person!r} ended on {self.until}; renew it, or choose "
                "another person"
            )
        if self.on is not None and today < self.on:
            return f"person: the consent of {person!r} begins on {self.on}; choose another person"
        if use == COMMERCIAL and COMMERCIAL not in self.uses:
            return (
                f"use: {self._named(person)} does not cover commercial use; choose another person"
            )
        return None

    def _named(self, person: str) -> str:
        if self.kind == NOT_STATED:
            return f"person.json of {person!r} states no consent, which"
        if self.kind == LICENCE:
            return f"the licence of {person!r}, {self.licence},"
        return f"the consent of {person!r}"


UNKNOWN = Consent()


def _text(name: str, members: Mapping[str, Any]) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"consent.{name}: must be text ({value!r})")
    return value


def _day(name: str, members: Mapping[str, Any]) -> date | None:
    value = members.get(name)
    try:
        return None if value is None else date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"consent.{name}: invalid {value!r}; write YYYY-MM-DD") from None
