"""`tenants`: quotas are set and listed."""

import json

from tests.cli.conftest import Call


def test_quotas_are_set_and_listed(call: Call) -> None:
    assert call("tenants", "set", "acme", "--jobs-in-flight", "5").exit_code == 0
    assert call("tenants", "set", "acme", "--stored-bytes", "7000000").exit_code == 0

    listed = call("tenants", "list", "--json", VISAVIS_QUOTA_SECONDS_A_DAY="60").stdout

    (acme,) = json.loads(listed)
    assert (acme["name"], acme["own"]) == ("acme", ["jobs_in_flight", "stored_bytes"])
    assert acme["quota"] == {"jobs_in_flight": 5, "seconds_a_day": 60.0, "stored_bytes": 7_000_000}
    assert "0 of 7,000,000" in call("tenants", "list").stdout
    call("tenants", "set", "acme", "--defaults", "--jobs-in-flight", "2")
    assert json.loads(call("tenants", "list", "--json").stdout)[0]["own"] == ["jobs_in_flight"]


def test_an_invalid_tenant_is_rejected(call: Call) -> None:
    done = call("tenants", "set", "Acme Inc")

    assert done.exit_code == 2
    assert "tenant: invalid name 'Acme Inc'" in done.stderr
