"""Values that PostgreSQL cannot store are the caller's fault: NUL in ids, names and queries."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError

from jobs.settings import Settings
from tests.api_server import Served, serving, write_person
from tests.postgresql import postgresql

pytestmark = pytest.mark.services

NUL = "%00"


@pytest.fixture(scope="module")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("postgresql")
    people = write_person(folder / "people")
    with (
        postgresql() as url,
        serving(Settings(data=folder / "data", people=people, database_url=url)) as served,
    ):
        yield served


def requests(served: Served) -> list[tuple[str, str]]:
    """Every operation with NUL in all parameters of its path, and lists with NUL in a query."""
    document = served.http.get("/openapi.json").json()
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = [each["name"] for each in operation.get("parameters", [])]
            filled = path
            for name in names:
                filled = filled.replace(f"{{{name}}}", f"a{NUL}b")
            found += [(method.upper(), filled)]
            found += [
                (method.upper(), f"{filled}?{each['name']}=a{NUL}b")
                for each in operation.get("parameters", [])
                if each["in"] == "query"
            ]
    return found


def test_nul_is_never_an_internal_error(on_postgresql: Served) -> None:
    statuses: dict[str, int] = {}
    for method, path in requests(on_postgresql):
        body = {"json": {}} if method in ("POST", "PUT") else {}
        answer = on_postgresql.http.request(method, path, **body)
        statuses[f"{method} {path}"] = answer.status_code

    with_nul = {name: status for name, status in statuses.items() if NUL in name}
    assert len(with_nul) > 25
    assert {
        name: status for name, status in with_nul.items() if status not in range(400, 500)
    } == {}


def test_any_other_value_that_cannot_be_stored_is_an_invalid_request(
    on_postgresql: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DataError("select", {}, Exception("cannot contain NUL"))

    monkeypatch.setattr(on_postgresql.services.database.jobs.__class__, "get", refuse)

    answer = on_postgresql.http.get("/jobs/x")

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
