"""The catalogue of problems: complete, documented, and one status for each code."""

import ast
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from api.app import create_app
from api.problems import CATALOGUE, GENERAL, Problem, document_problems, problems
from jobs.settings import Settings

ROOT = Path(__file__).parents[2]
MAKES_A_PROBLEM = {"Problem", "problem_response", "_url_problem", "MediaError"}  # of a code
FORWARDED = r"code|error\.code|problem\.code|str\(\w+\['code'\]\)"  # the code of another problem


def sources() -> list[Path]:
    definition = ROOT / "api" / "problems.py"
    files = {*(ROOT / "api").rglob("*.py"), *(ROOT / "jobs" / "sandbox").glob("*.py")}
    return sorted(files - {definition})


def codes_in(expression: ast.expr, module: ast.Module) -> set[str]:
    """Strings that the expression may have; of a variable, all that the module assigns to it."""
    match expression:
        case ast.Constant(value=str(code)):
            return {code}
        case ast.IfExp():
            return codes_in(expression.body, module) | codes_in(expression.orelse, module)
        case ast.Name():
            values = [
                node.value
                for node in ast.walk(module)
                if isinstance(node, ast.Assign)
                and expression.id in {ast.unparse(target) for target in node.targets}
            ]
            return set().union(*(codes_in(value, module) for value in values))
    return set()


def raised() -> Iterator[tuple[str, str, set[str]]]:
    """Place, code expression and codes of each call that makes a problem."""
    for path in sources():
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in MAKES_A_PROBLEM:
                code = node.args[0]
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield place, ast.unparse(code), codes_in(code, module)


@pytest.fixture(scope="module")
def documented() -> dict[str, set[int]]:
    """Statuses of each code in the description of the API."""
    statuses: dict[str, set[int]] = {}
    for methods in create_app(Settings()).openapi()["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/problem+json", {})
                for code in content.get("examples", {}):
                    statuses.setdefault(code, set()).add(int(status))
    return statuses


def test_every_raised_code_is_in_the_catalogue() -> None:
    calls = list(raised())

    assert len(calls) > 50
    assert [call for call in calls if not call[2] and not re.fullmatch(FORWARDED, call[1])] == []
    assert [call for call in calls if not call[2] <= CATALOGUE.keys()] == []


def test_every_code_of_the_catalogue_is_raised() -> None:
    assert set().union(*(codes for _, _, codes in raised())) == CATALOGUE.keys()


def test_every_code_is_documented_by_a_route_or_general(documented: dict[str, set[int]]) -> None:
    assert documented.keys() | GENERAL == CATALOGUE.keys()
    assert documented.keys() & GENERAL == set()


def test_a_code_is_documented_with_the_status_it_is_raised_with(
    documented: dict[str, set[int]],
) -> None:
    assert documented == {code: {CATALOGUE[code].status} for code in documented}


def test_the_manual_lists_every_code_with_its_status() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", text, re.MULTILINE)
    listed = {code: int(status) for status, codes in rows for code in re.findall("`(.+?)`", codes)}

    assert listed == {code: kind.status for code, kind in CATALOGUE.items()}


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_sentence_is_complete(code: str) -> None:
    sentence = CATALOGUE[code].sentence

    assert sentence.endswith(".")
    begins_with_field = re.match(r"[a-z_]+: |\d", sentence) is not None
    assert sentence[0].isupper() or begins_with_field


def test_a_problem_has_status_title_and_sentence_of_its_code() -> None:
    response = Problem("job_not_found").response()

    assert response.status_code == HTTPStatus.NOT_FOUND
    assert json.loads(response.body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "job_not_found",
        "detail": CATALOGUE["job_not_found"].sentence,
    }


def test_an_unknown_code_cannot_be_raised_or_documented() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        Problem("nonsense", "A sentence.")
    with pytest.raises(KeyError, match="nonsense"):
        problems("nonsense")


def test_problems_of_a_middleware_are_added_to_those_of_a_route() -> None:
    route = {
        str(status): each for status, each in problems("job_not_found", "rate_limited").items()
    }
    operation = {"responses": route}

    document_problems(operation, "quota_jobs", "key_missing")

    found = {
        status: set(response["content"]["application/problem+json"]["examples"])
        for status, response in operation["responses"].items()
    }
    assert found == {
        "404": {"job_not_found"}, "429": {"rate_limited", "quota_jobs"}, "401": {"key_missing"},
    }  # fmt: skip
