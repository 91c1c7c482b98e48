"""Consent of people: its member in person.json, and the uses that it covers."""

from datetime import date
from typing import Any

import pytest

from contracts.consent import COMMERCIAL, NON_COMMERCIAL, UNKNOWN, Consent
from jobs.persons import ConsentRefused, check_use

LICENCE = {"kind": "licence", "licence": "CC BY-NC 4.0", "uses": [NON_COMMERCIAL]}
GIVEN = {"kind": "given", "given_by": "paper 17", "uses": [NON_COMMERCIAL, COMMERCIAL]}


@pytest.mark.parametrize(
    ("members", "use", "reason"),
    [
        (LICENCE, None, None),
        (LICENCE, COMMERCIAL, "use: the licence of 'ada', CC BY-NC 4.0, does not cover commercial"),
        (GIVEN, COMMERCIAL, None),
        (GIVEN | {"until": "2026-05-03"}, None, "person: the consent of 'ada' ended on 2026-05-03"),
        (GIVEN | {"until": "2026-05-04"}, None, None),
        (GIVEN | {"on": "2026-05-05"}, None, "person: the consent of 'ada' begins on 2026-05-05"),
        (GIVEN | {"uses": []}, None, "person: the consent of 'ada' was withdrawn"),
        (GIVEN | {"uses": [NON_COMMERCIAL]}, COMMERCIAL, "use: the consent of 'ada' does not"),
    ],
)
def test_a_use_is_covered_or_refused_with_one_sentence(
    members: dict[str, Any], use: str | None, reason: str | None
) -> None:
    refusal = Consent.parse(members).refusal("ada", use, date(2026, 5, 4))

    assert (refusal is None) if reason is None else (refusal or "").startswith(reason)


def test_the_service_or_the_request_makes_a_use_commercial() -> None:
    consent = Consent.parse(LICENCE)
    check_use("ada", consent, None, None)
    check_use("ada", UNKNOWN, NON_COMMERCIAL, None)

    for use, service in ((COMMERCIAL, None), (None, COMMERCIAL), (NON_COMMERCIAL, COMMERCIAL)):
        with pytest.raises(ConsentRefused, match="commercial"):
            check_use("ada", consent, use, service)
        with pytest.raises(ConsentRefused, match="states no consent"):
            check_use("ada", UNKNOWN, use, service)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"kind": "yes", "uses": []}, r"consent\.kind: invalid 'yes'"),
        ({"kind": "given", "uses": []}, r"consent\.given_by: missing"),
        ({"kind": "licence", "uses": []}, r"consent\.licence: missing"),
        ({"kind": "synthetic", "uses": ["all"]}, r"consent\.uses: invalid"),
        (GIVEN | {"until": "soon"}, r"consent\.until: invalid 'soon'"),
        (GIVEN | {"ends": "2026-05-03"}, "consent: unknown member 'ends'"),
    ],
)
def test_a_faulty_member_is_named(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Consent.parse(members)


def test_members_are_written_as_they_were_read() -> None:
    members = GIVEN | {"on": "2026-05-04", "until": "2028-05-03", "conditions": "none"}

    assert Consent.parse(members).to_json() == members
